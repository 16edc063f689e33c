/*
 * libmemkeep: memory of a host's devices, asked of memkeepd and used in place.
 *
 *   mk_client *client;
 *   mk_allocation *weights;
 *   if (mk_connect(NULL, &client) ||
 *       mk_allocate(client, &(struct mk_request){.size = 1 << 30, .memory = "RAM"}, &weights))
 *     errx(1, "%s", mk_error_text());
 *   memset(mk_pointer(weights), 0, mk_size(weights));
 *   printf("another process may mk_attach %s\n", mk_id(weights));
 *   mk_free(weights);
 *   mk_close(client);
 *
 * Sizes and offsets are bytes. Text is UTF-8; text that is passed in is copied. A result comes last
 * and is untouched on failure. What a function "borrows" to you is valid as long as the object that
 * you asked.
 *
 * Errors. What can fail returns an enum mk_code, MK_OK (0) for success; mk_error_text() says what
 * went wrong in a sentence for people. Any call may fail with MK_DAEMON_NOT_FOUND,
 * MK_DAEMON_RESTARTED, MK_INTERNAL_ERROR (out of memory or descriptors, or an answer that cannot
 * be), MK_CONFLICT (see Fork) and whatever the daemon answers; the rest is said where it belongs.
 *
 * Threads. Any function may be called from any thread; threads that share a client do not wait for
 * each other's answers. The exceptions are mk_close, and the last mk_detach or mk_free of a handle:
 * nobody else may use the object any more.
 *
 * Restart. When the daemon is restarted, mapped memory stays where it is. The next call connects
 * again (waiting up to reconnect_ms), says what this process still holds, and is repeated where
 * that is safe; where it is not, it fails with MK_DAEMON_RESTARTED and what it asked for was done
 * or not.
 *
 * Fork. A client belongs to the process that made it. In a forked child every call on it fails with
 * MK_CONFLICT, and mk_close does nothing; the child connects by itself. Mappings are inherited, the
 * right to them is not: the memory may be given to others as soon as the parent lets go.
 */
#ifndef MEMKEEP_MEMKEEP_H
#define MEMKEEP_MEMKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MK_API __attribute__((visibility("default")))

#define MK_VERSION "0.1.0"
#define MK_UNKNOWN UINT64_MAX /* a figure that nobody can know */

typedef struct mk_client mk_client;         /* a connection */
typedef struct mk_allocation mk_allocation; /* a handle on memory that this process has attached */

/* ---- errors ---- */

/* The numbers are fixed. A code of a newer daemon that is not here is MK_INTERNAL_ERROR. */
enum mk_code {
  MK_OK = 0,
  MK_INVALID_ARGUMENT = 1, /* a value has a wrong form, range or word; also an unknown field */
  MK_UNAUTHORIZED = 2,     /* no valid credentials */
  MK_FORBIDDEN = 3,        /* not for this user */
  MK_NOT_FOUND = 4,        /* no such thing, no such action */
  MK_DEVICE_NOT_FOUND = 5,
  MK_ALLOCATION_NOT_FOUND = 6,
  MK_TRANSFER_NOT_FOUND = 7,
  MK_MODEL_NOT_FOUND = 8,
  MK_WORKER_NOT_FOUND = 9,
  MK_CONFLICT = 10,        /* the state does not allow it: protected, a forked child, … */
  MK_ALLOCATION_BUSY = 11, /* others have it attached, or it is being moved */
  MK_MODEL_BUSY = 12,
  MK_ALLOCATION_LOST = 13, /* its record is there, its memory is gone */
  MK_MODEL_FORMAT_INVALID = 14,
  MK_RATE_LIMITED = 15, /* too much at once: later */
  MK_CANCELLED = 16,
  MK_DAEMON_RESTARTED = 17,  /* whether it was done is not known */
  MK_CHECKSUM_MISMATCH = 18, /* the bytes read back differ */
  MK_INTERNAL_ERROR = 19,
  MK_WORKER_UNAVAILABLE = 20, /* later */
  MK_DEVICE_UNAVAILABLE = 21, /* the device does not answer */
  MK_WORKER_TIMEOUT = 22,
  MK_INSUFFICIENT_MEMORY = 23,  /* not now: free something, or say wait_ms */
  MK_ALLOCATION_TOO_LARGE = 24, /* never on this device */
  MK_QUOTA_EXCEEDED = 25,
  MK_DAEMON_NOT_FOUND = 26, /* nobody listens on the socket */
};

/* Of the last call of this thread that failed; MK_OK and "" before. The text is borrowed until the
 * next failure in this thread. */
MK_API enum mk_code mk_error_code(void);
MK_API const char *mk_error_text(void);
/* "INSUFFICIENT_MEMORY". Static; any value is safe. */
MK_API const char *mk_code_name(enum mk_code code);

/* ---- connecting ---- */

struct mk_options {
  const char *socket;    /* NULL: MEMKEEP_SOCKET, else this session's daemon, else the system's */
  uint32_t reconnect_ms; /* how long a call waits for a daemon that went away; 0: 10,000 */
  uint32_t flags;        /* must be 0 */
  uint64_t reserved[4];  /* must be 0 */
};

/* options may be NULL. *out is closed with mk_close. MK_DAEMON_NOT_FOUND: at once, if nobody
 * listens. MK_FORBIDDEN: the socket is not for this user. MK_INVALID_ARGUMENT: its path is longer
 * than 107 bytes. */
MK_API enum mk_code mk_connect(const struct mk_options *options, mk_client **out);
/* Ends the callbacks, detaches everything: handles of this client and what they lent are gone, and
 * memory that lives as long as its process stays until then. Not from a callback. NULL is fine. */
MK_API void mk_close(mk_client *client);

/* ---- memory ---- */

enum mk_flags {
  MK_PERSISTENT = 1, /* lives until it is freed by force, whatever happens to this process */
  MK_PINNED = 2,     /* never moved to another place or device */
  MK_ZERO = 4,       /* filled with zeroes; else its contents are undefined */
  MK_COMMIT = 8,     /* host memory: all pages are there before the answer */
  MK_EVICT = 16,     /* models may be parked to make room */
  MK_READ_ONLY = 32, /* mk_attach: a mapping that cannot be written */
};

/* All that is 0 or NULL is left to the daemon; so is the check of words. */
struct mk_request {
  uint64_t size;         /* 1 … 2^62 */
  const char *device;    /* "host:0", "cuda:1", a UUID or PCI address; NULL: the best one */
  const char *memory;    /* "RAM", "VRAM", "any" (default): which devices are asked */
  const char *label;     /* shown in lists; up to 256 bytes */
  const char *purpose;   /* "buffers" (default), "model_weights", "kv_cache", "activations",
                            "tensors",   "staging", "cache", "temporary", "system" */
  const char *priority;  /* "low", "normal" (default), "high", "critical" */
  const char *share;     /* who else may attach: "none" (default: this user), "read", "write" */
  const char *strategy;  /* "spread" (default), "best-fit", "pack" */
  uint64_t alignment;    /* a power of two up to 2 MiB; default 256 */
  uint64_t ttl_seconds;  /* freed that much later, whoever lives; 0: with this process */
  uint64_t wait_ms;      /* how long to wait for memory; 0: not at all */
  uint32_t flags;        /* of enum mk_flags */
  uint32_t reserved_too; /* must be 0 */
  uint64_t reserved[4];  /* must be 0 */
};

/* Memory, attached writable. Freed when this process ends unless the request says otherwise.
 * Repeated safely over a restart of the daemon. MK_INSUFFICIENT_MEMORY, MK_ALLOCATION_TOO_LARGE,
 * MK_QUOTA_EXCEEDED, MK_DEVICE_NOT_FOUND, MK_INVALID_ARGUMENT. */
MK_API enum mk_code mk_allocate(mk_client *client, const struct mk_request *request,
                                mk_allocation **out);
/* Attaches an allocation by its id ("a-…"), whoever made it; flags: 0 or MK_READ_ONLY. While it is
 * attached it is neither moved nor freed but by force. One that this client has already is answered
 * with the same handle, to be detached once more; MK_CONFLICT if that one is read-only and this is
 * not to be. MK_ALLOCATION_NOT_FOUND, MK_ALLOCATION_LOST, MK_FORBIDDEN, MK_ALLOCATION_BUSY. */
MK_API enum mk_code mk_attach(mk_client *client, const char *id, uint32_t flags,
                              mk_allocation **out);
/* Gives the handle back; the memory lives on as its lease says. Its pointer must not be used any
 * more, unless the allocation is attached twice. The handle is gone whatever is returned, but for
 * MK_CONFLICT. NULL is fine. */
MK_API enum mk_code mk_detach(mk_allocation *allocation);
/* Frees the memory and gives the handle back; one that is freed already is fine. On failure the
 * handle is as before: MK_ALLOCATION_BUSY when others have it attached, or it is persistent or
 * pinned (mk_call "memory.free" with "force":true, then mk_detach). NULL is fine. */
MK_API enum mk_code mk_free(mk_allocation *allocation);
/* mk_free for who cannot wait: a daemon that went away is given 0.3 s to be there again. Then it is
 * MK_DAEMON_NOT_FOUND, the handle is as before, and this may be tried later. */
MK_API enum mk_code mk_try_free(mk_allocation *allocation);

/* What a handle knows; borrowed. All of them are constant while the handle lives. */
MK_API const char *mk_id(const mk_allocation *allocation);     /* "a-48f9000000000004" */
MK_API const char *mk_device(const mk_allocation *allocation); /* where it was when attached */
MK_API uint64_t mk_size(const mk_allocation *allocation);      /* as asked for */
/* Host memory: its first byte, shared with all who attach it. NULL: memory of a device, which is
 * reached through mk_fd. */
MK_API void *mk_pointer(const mk_allocation *allocation);
/* The segment's descriptor, -1 if there is none; do not close it. The allocation begins at
 * mk_offset in it. mk_handle says what it is: "memfd" (mmap), "cuda-vmm"
 * (cuMemImportFromShareableHandle), "vulkan-opaque"; "none". */
MK_API int mk_fd(const mk_allocation *allocation);
MK_API uint64_t mk_offset(const mk_allocation *allocation);
MK_API const char *mk_handle(const mk_allocation *allocation);

/* ---- figures ---- */

enum mk_pressure { MK_PRESSURE_UNKNOWN, MK_LOW, MK_MODERATE, MK_HIGH, MK_CRITICAL };

/* Bytes, MK_UNKNOWN where nobody can know. */
struct mk_status {
  uint64_t total, used, available;
  uint64_t allocated;         /* Σ sizes of live allocations */
  uint64_t committed;         /* Σ sizes of the segments that hold them */
  uint64_t cached;            /* empty segments kept for reuse */
  uint64_t external;          /* used by others */
  uint64_t largest_free;      /* of one device only */
  uint64_t allocations;       /* how many live */
  double utilization_percent; /* NaN: unknown; so for the next two */
  double fragmentation_percent;
  double pressure_percent;
  enum mk_pressure pressure;
  uint32_t reserved_too;
  uint64_t reserved[7]; /* 0 */
};

/* Of a device, or of the whole host (NULL). MK_DEVICE_NOT_FOUND. */
MK_API enum mk_code mk_status(mk_client *client, const char *device, struct mk_status *out);

/* ---- everything else ---- */

/* Any operation of docs/api.md by its action name ("memory.get_usage"), its fields in snake_case in
 * one JSON object (NULL: {}). *result is the answer's data, compact JSON, for free(); it may be
 * NULL for "don't want it". What reads, frees, transfers or loads is repeated over a restart.
 * MK_INVALID_ARGUMENT: data is no object or over 4 MiB, or the action hands over memory (allocate,
 * attach, detach, resume have functions above). */
MK_API enum mk_code mk_call(mk_client *client, const char *action, const char *data, char **result);

/* An event, borrowed while the callback runs. After a restart of the daemon comes one of type
 * "client.reconnected" with "{}": events may have been missed. */
struct mk_event {
  const char *type; /* "allocation.created" */
  const char *data; /* a JSON object on one line */
};
typedef void mk_event_fn(void *arg, const struct mk_event *event);
/* Calls fn on a thread of its own for each event of the types
 * ("allocation.created,pressure.changed", NULL: all) that happens from now on. A second call
 * replaces the first, fn NULL ends it; when this returns, the former fn runs no more. Not from a
 * callback (MK_CONFLICT). */
MK_API enum mk_code mk_events(mk_client *client, const char *types, mk_event_fn *fn, void *arg);

/* What the daemon asks of this process or tells it, borrowed while the callback runs. */
struct mk_question {
  const char *action;   /* "memory.optimize", "memory.pressure", … */
  const char *data;     /* a JSON object on one line */
  uint64_t deadline_ms; /* time for the answer, 0: none was said */
  bool told;            /* an event: no answer is wanted */
};
/* Return MK_OK, and in *answer a JSON object from malloc (the library frees it; left NULL: {}), or
 * why not: MK_NOT_FOUND for actions that you do not know. */
typedef enum mk_code mk_question_fn(void *arg, const struct mk_question *question, char **answer);
/* Makes this process a worker of the daemon (shown in its list as PROGRAM-PID, the next as
 * PROGRAM-PID.1): fn is called, one question at a time, on a thread of its own. actions: those it
 * answers, comma separated; NULL: "memory.get_status,memory.optimize,memory.pressure_check". A
 * second call replaces the first, fn NULL ends it; when this returns, the former fn runs no more.
 * Not from a callback (MK_CONFLICT).
 */
MK_API enum mk_code mk_on_request(mk_client *client, const char *actions, mk_question_fn *fn,
                                  void *arg);

#ifdef __cplusplus
}
#endif

#endif
