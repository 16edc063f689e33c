/*
 * version: of all programs of this tree; CMakeLists.txt says the same.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define VERSION_TEXT "0.1.0"

#endif
