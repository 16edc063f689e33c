/*
 * files_fixture: how many descriptors this process has, for tests that lose none.
 */
#ifndef TESTS_FILES_FIXTURE_H
#define TESTS_FILES_FIXTURE_H

/* Always the same number too many: the folder's own entries and descriptor. Only to be compared. */
unsigned files_fixture_count(void);

#endif
