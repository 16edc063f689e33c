/*
 * standin_fixture: a stand-in for the daemon's socket, as libmemkeep sees it: a thread that speaks
 * its lines and hands out real memfds. It can be killed and started again on the same path, and
 * told to hang up instead of answering.
 */
#ifndef STANDIN_FIXTURE_H
#define STANDIN_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#define STANDIN_SEGMENT_BYTES (UINT64_C(1) << 20) /* each of a segment's 16 blocks: 64 KiB */
#define STANDIN_BLOCK (STANDIN_SEGMENT_BYTES / 16)

struct standin;

/* Listens. */
struct standin *standin_fixture_create(void);
void standin_fixture_free(struct standin *standin);
const char *standin_fixture_path(const struct standin *standin);

/* All connections end, nobody listens; what was allocated stays. */
void standin_fixture_kill(struct standin *standin);
void standin_fixture_start(struct standin *standin);

/* The next `count` times that this action is asked it is done, but the connection is closed in
 * place of an answer. */
void standin_fixture_swallow(struct standin *standin, const char *action, int count);
/* This action is answered by this line ("request_id" is put in), NULL: as ever. */
void standin_fixture_refuse(struct standin *standin, const char *action, const char *code);
/* Sends a line on every connection that said hello or asked for events; returns when it is sent. */
void standin_fixture_say(struct standin *standin, const char *line);
/* Waits until `count` lines have come that hold all of `text`; returns the last of them, for
 * free().
 */
char *standin_fixture_heard(struct standin *standin, const char *text, unsigned count);
/* How many have come. */
unsigned standin_fixture_count(struct standin *standin, const char *text);

#endif
