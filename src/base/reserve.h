/*
 * reserve: memory for jansson when there is none just now. A program calls reserve_install() once,
 * before its first thread and before anything is parsed; a library must not, for jansson has one
 * allocator in a process.
 */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

void reserve_install(void);

#endif
