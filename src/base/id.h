/*
 * id: how 64-bit ids look outside: one letter, a hyphen, 16 lower-case hex digits. Upper 16 bits
 * are drawn per ledger, lower 48 are counted, so ids of one daemon sort by creation. 0 is no id.
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_ALLOCATION 'a'
#define ID_SEGMENT 's'
#define ID_JOB 'j'
#define ID_TRANSFER 't' /* a transfer's job id is its transfer id */
#define ID_MODEL 'm'
#define ID_SIZE 20 /* with the NUL */

/* Writes at most ID_SIZE bytes; returns out. */
const char *id_format(char prefix, uint64_t id, char out[ID_SIZE]);
/* 0 unless text is exactly the form above with that prefix. */
uint64_t id_parse(char prefix, const char *text);
/* 64 random bits from the kernel. */
uint64_t id_random(void);
/* 16 hex digits and NUL, for correlation ids: cheap, unique within the process, not secret. */
void id_correlation(char out[17]);
/* 1–64 of [A-Za-z0-9._-] */
bool id_is_token(const char *text);

#endif
