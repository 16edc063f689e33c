/*
 * config_rows: "tokens" and "limits", the settings that are lists of groups. There is no flag for
 * them: a secret on a command line is none.
 */
#ifndef DAEMON_CONFIG_ROWS_H
#define DAEMON_CONFIG_ROWS_H

#include "daemon/config_table.h"

/* Whether it is a list of groups. */
bool config_rows_known(const char *name);
/* A new row of "tokens" or "limits"; its settings follow, and then its end, which checks that
 * nothing is missing. */
enum status config_rows_open(struct config *config, const char *list, struct problem *problem);
enum status config_rows_close(struct config *config, const char *list, struct problem *problem);

/* For the table: each sets something of the last row. */
typedef enum status config_rows_setter(const struct config_setting *setting, struct config *config,
                                       const char *text, struct problem *problem);
config_rows_setter config_rows_token_name, config_rows_secret, config_rows_secret_file,
    config_rows_digest, config_rows_role;
config_rows_setter config_rows_limit_device, config_rows_limit_max, config_rows_limit_reserved;

#endif
