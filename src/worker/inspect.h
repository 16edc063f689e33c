/*
 * inspect: memkeep-worker --inspect: a process that reads the headers of one model's files, behind
 * walls, for the files may have been made to take over whoever reads them.
 *
 * On $MEMKEEP_FD, one message each: "card", with the memory for the image; for each file "SIZE
 * NAME", with the file; "go", with nothing. The answer is one line of JSON on stdout:
 *   {"image_bytes":N} | {"missing":[NAME, ...]} | {"error_code":CODE,"error":REASON}
 */
#ifndef WORKER_INSPECT_H
#define WORKER_INSPECT_H

/* From the first message to the answer. Returns the exit code. */
int inspect_run(void);

#endif
