/*
 * models: the table of models and of the weights behind them. Private to this room; under the
 * state lock unless said.
 *
 * A model is a name; weights are the bytes of one set of files. Two names of the same files share
 * weights; the last one that lets go gives them back. Weights live as allocations of an owner of
 * their own, one for each file: a copy in host memory, one on a card, or both. A model whose home
 * is a device of host memory has the first kind only.
 */
#ifndef SERVICE_MODELS_H
#define SERVICE_MODELS_H

#include "base/os_path.h"
#include "model/policy.h"
#include "service/model.h"
#include "service/model_uses.h"
#include "service/promise.h"
#include "service/state.h"

enum models_copy { MODELS_RAM, MODELS_CARD, MODELS_COPIES };

#define MODELS_ALIGNMENT 256 /* of weights on a card: what its kernels like, and PyTorch gives */
struct models_part {         /* one file */
  char *name;
  uint64_t size;
  uint32_t pad; /* of its segment on a card before the file's first byte, so that its weights begin
                   at a multiple of MODELS_ALIGNMENT */
  struct os_path_identity identity; /* zeroed after a restart: not known */
  uint64_t at[MODELS_COPIES];       /* allocations, 0: none */
};

#define MODELS_LEARNED 4 /* devices of one model that are remembered */
/* What loads to a device have taught. */
struct models_learned {
  uint64_t device;      /* the id of its record, 0: nothing here */
  uint64_t known_bytes; /* of the segments */
  struct estimate_learned of;
};

/* What stays known of files while nothing of them is in memory. */
struct models_facts {
  uint64_t size, weights_bytes, fingerprint;
  uint64_t load_ns, load_bytes; /* the last load from the files, and how many bytes it read */
  uint32_t format, tensors, files;
  struct models_learned learned[MODELS_LEARNED]; /* newest first */
};

struct models_weights {
  uint32_t references; /* names */
  uint32_t owner;
  uint64_t id;   /* the owner's number: the id of the model that was loaded first */
  uint32_t home; /* device where they are wanted */
  uint32_t part_count;
  struct models_part *parts;
  bool has[MODELS_COPIES]; /* whole */
  void *image;             /* the card, NULL: not known any more */
  size_t image_bytes;
  uint64_t table;          /* allocation that holds the card, 0: none */
  uint64_t resident_since; /* clock_now() of the last arrival on the home */
  bool served;             /* attached since then */
  uint32_t asked;          /* loads since then whose attach has not come: the two are one use */
  struct policy_credit credit;
  struct model_work *work; /* what is being done with them, NULL: nothing */
  bool lent;               /* that work only reads them: they may be attached meanwhile */
  uint32_t readers;        /* of the image, on other threads */
  bool forgotten;          /* freed by the last reader */
  struct models_weights *next;
};

/* The idempotency key that it was loaded with last, and a hash of what came with it; zeroed: none.
 */
struct models_key {
  uint64_t hash[2];
  uint32_t args;
};

struct models_model {
  uint64_t id;
  char *name, *path;
  struct models_weights *weights; /* NULL: on disk only */
  struct model_work *work;        /* loading or unloading; the weights' too, where there are any */
  struct models_facts facts;
  struct problem error; /* of the last load, when it failed */
  struct models_key key;
  uint32_t domain, home;    /* home: the last device, UINT32_MAX: none yet */
  uint32_t slot, text_slot; /* of its record, 0: none */
  uint32_t name_next;
  uint8_t priority;
  bool pinned;
  char worker[40]; /* who loaded it last, "": nobody since the start */
  bool leaving;    /* the work takes it out of memory */
  uint64_t keep_alive_seconds, last_used_at, use_count, loaded_at, created_at;
  struct model_uses uses;      /* since the start */
  struct policy_credit credit; /* of its weights on `home`, while they are not in memory */
};

#define MODELS_BUCKETS 1024

struct models {
  struct pool pool; /* of models_model */
  struct idmap ids;
  uint32_t buckets[MODELS_BUCKETS]; /* by name */
  struct models_weights *weights;   /* all, newest first */
  const struct inspector_table *inspector;
  void *inspector_ctx;
  struct queue *files; /* opens what is named: may hang on a network's file system */
  char **roots;        /* model_dirs, NULL-terminated */
  enum job_kind last_kind;
  enum job_state last_state;
  uint64_t last_model, last_at;
  struct promise_book promises;
  struct policy_clock clocks[VIEW_DEVICES];
  struct service_relief relief;
  bool relieved[VIEW_DEVICES];       /* since its use was last well below the trigger */
  bool relieved_early[VIEW_DEVICES]; /* while a model of it was worked on */
  bool last_resort[VIEW_DEVICES];    /* the same against pins, since it was last not critical */
  bool stalls;                       /* all programs wait for memory, and that was answered */
};

/* No lock. */
enum status models_create(struct service *s, const char *const *roots);
/* Before the decision thread ends: no more files are opened. */
void models_stop(struct service *s);
void models_free(struct service *s);

static inline struct models_model *models_at(const struct service *s, uint32_t index) {
  return pool_at(&s->models->pool, index);
}
/* By id or name; 0: none. */
uint32_t models_find(const struct service *s, const char *id_or_name);
uint32_t models_find_name(const struct service *s, const char *name);
/* Of a name: the same in every daemon, for the history. 1 to 2^63 - 1. */
uint64_t models_hash(const char *name);
uint32_t models_find_hash(const struct service *s, uint64_t hash);
/* A new one, listed from here on; 0: too many, or no memory. */
uint32_t models_add(struct service *s, uint64_t id, const char *name, const char *path);
/* As if it had never been; it has neither weights nor work. */
void models_remove(struct service *s, uint32_t index);
/* False: no memory, or another one has that name. */
bool models_rename(struct service *s, uint32_t index, const char *name);

/* Weights without a copy yet, with one name; NULL: no memory. Takes the image over. */
struct models_new {
  uint64_t id;
  uint32_t owner, home, part_count;
  void *image;
  size_t image_bytes;
};
struct models_weights *models_weights_new(struct service *s, const struct models_new *new);
void models_weights_forget(struct service *s, struct models_weights *weights);
/* The model lets go of its weights; which device they were on, and what was learned of their use
 * there, stays with it for those that come next. */
void models_weights_leave(struct models_model *model);
/* The credit of a model's former weights is theirs, on whatever device they are wanted. */
void models_weights_inherit(const struct service *s, const struct models_model *model,
                            struct models_weights *weights);
/* The image stays until it is given back as often, even if the weights are forgotten. */
void models_weights_read(struct models_weights *weights);
void models_weights_read_end(struct models_weights *weights);
/* Those of the same files, NULL: none. `identities` are part_count ones in the card's order. */
struct models_weights *models_weights_of(const struct service *s,
                                         const struct os_path_identity *identities,
                                         uint32_t part_count);

/* The first of their names: an index, 0: none. */
uint32_t models_first_of(const struct service *s, const struct models_weights *weights);
/* Of a file whose weights begin there. */
uint32_t models_pad(uint64_t data_offset);
/* Where a part begins in its segment on a device: 0 in host memory, where a file is a file, and
 * where the pad would take one granule more. */
uint64_t models_pad_on(const struct service *s, const struct models_part *part, uint32_t device);
/* What its parts take on a device. */
uint64_t models_bytes_on(const struct service *s, const struct models_weights *weights,
                         uint32_t device);
/* Where a copy is; VIEW_DEVICES: there is none. */
uint32_t models_device_of(const struct service *s, const struct models_weights *weights,
                          enum models_copy copy);
bool models_home_is_host(const struct service *s, const struct models_weights *weights);
/* The copy that is wanted on the home. */
enum models_copy models_home_copy(const struct service *s, const struct models_weights *weights);
/* Attachments of all parts, of one copy or of all. */
uint32_t models_attachments_of(const struct service *s, const struct models_weights *weights,
                               enum models_copy copy);
uint32_t models_attachments(const struct service *s, const struct models_weights *weights);
/* A pin of any of their names holds them. */
bool models_pinned(const struct service *s, const struct models_weights *weights);
enum model_state models_state(const struct service *s, const struct models_model *model);
enum model_residency models_residency(const struct service *s, const struct models_model *model);
void models_view(const struct service *s, uint32_t index, struct model_view *out);
/* One event about a model. */
void models_event(struct service *s, uint32_t index, enum events_type type,
                  const char *correlation);
/* An optimisation is over. Under the lock. */
void models_note_optimized(struct service *s, enum status status);
/* It was used: now, once more: asked for by a load, or moved. */
void models_touch(struct service *s, uint32_t index);
/* The same of an attach. */
void models_touch_attached(struct service *s, uint32_t index);

#endif
