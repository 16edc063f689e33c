/*
 * model_fixture: model files, and loads of them that are waited for.
 */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include "service/model.h"
#include "service_fixture.h"

/* fixture_start, without relief: what is loaded stays. */
struct fixture *model_fixture_start(const char *const *devices);
/* Writes a safetensors file of one tensor of `size` bytes, which the seed tells. The path is good
 * until eight more were made; the file is the caller's to unlink. */
const char *model_fixture_file(const char *name, size_t size, unsigned seed);
struct model_load model_fixture_load(const char *path, const char *name, const char *device);
/* Loads and waits; how it ended. The view is zeroed where nothing had to be done. */
enum status model_fixture_run(struct fixture *fixture, const struct model_load *params,
                              struct job_view *view);
struct model_view model_fixture_find(struct service *s, const char *name);
struct model_view model_fixture_look(struct fixture *fixture, const char *name);
/* The bytes of the model's only file are those of the file; and it is busy while it is attached. */
void model_fixture_same(struct fixture *fixture, const char *name, const char *path);
/* By force, to its file; waited for. */
void model_fixture_unload(struct fixture *fixture, const char *name);
/* Its last load is said to have taken that long: what decides by such a time is then the same on a
 * busy machine. Uses from here on are worth that much, and it is young for that long. */
void model_fixture_cost(struct fixture *fixture, const char *name, uint64_t load_ns);
/* It has been where it is since the machine was booted: it is not young any more. */
void model_fixture_age(struct fixture *fixture, const char *name);
/* Files are not opened until they are again: the thread for that waits. */
void model_fixture_shut(struct fixture *fixture);
void model_fixture_open(void);

#endif
