/*
 * drm_fixture: recorded trees of /sys and /proc (tests/drm), and hostile ones made on the spot.
 */
#ifndef TESTS_DRM_FIXTURE_H
#define TESTS_DRM_FIXTURE_H

/* $MEMKEEP_DRM is that tree from now on. */
void drm_fixture_use(const char *tree);
/* ... an empty one of this process's own, which the next use, or done, removes. */
void drm_fixture_make(void);
/* A file or a link in it, with the folders above. */
void drm_fixture_file(const char *path, const char *text);
void drm_fixture_link(const char *path, const char *target);
void drm_fixture_remove(const char *path);
/* The machine's own again; a group's teardown, 0. */
int drm_fixture_done(void **state);

#endif
