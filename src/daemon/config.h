/*
 * config: what the daemon was told, from four places: a flag beats the environment, that beats the
 * file, that beats the default. config_table.h says which settings there are.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "base/problem.h"
#include "daemon/workers.h"
#include "device/spec.h"
#include "http/http.h"
#include "memory/pressure.h"
#include "service/view.h"

#define CONFIG_PATH 1024
#define CONFIG_HOSTS 32
#define CONFIG_HOST 256
#define CONFIG_MODEL_DIRS 16

/* A device's limits; what was not said stays as the daemon has it. */
struct config_limit {
  char device[SPEC_ID];
  bool has_max, has_reserved;
  uint64_t max_bytes, reserved_bytes;
};

struct config {
  /* What to do instead of serving. */
  bool help, version, check;

  char file[CONFIG_PATH]; /* the configuration file that was read; "": none */
  char address[64];       /* numeric, without brackets */
  uint16_t port;
  char socket[CONFIG_PATH];
  uint32_t socket_mode;
  int64_t socket_group; /* gid; -1: the daemon's */
  char state_dir[CONFIG_PATH], runtime_dir[CONFIG_PATH];
  struct spec devices[VIEW_DEVICES];
  uint32_t device_count;
  bool no_gpu, no_vulkan, no_worker, no_vault;
  struct workers_command workers[WORKERS_MAX];
  uint32_t worker_count;
  enum log_level log_level;
  struct http_token tokens[HTTP_TOKENS];
  uint32_t token_count;
  char hosts[CONFIG_HOSTS][CONFIG_HOST];
  uint32_t host_count;
  uint32_t rate_limit; /* requests a second of one caller through one door; 0: any */
  char certificate[CONFIG_PATH], key[CONFIG_PATH];
  struct pressure_thresholds thresholds;
  bool thresholds_said;
  uint32_t relief_trigger, relief_target; /* hundredths of a percent */
  uint32_t policy;                        /* who makes room: of policy_preset_at */
  bool last_resort;                       /* pinned models may go when nothing else is left */
  bool predict;                           /* models go and come before it is asked for */
  uint64_t predict_ns;                    /* how far ahead high use is looked for */
  struct config_limit limits[VIEW_DEVICES];
  uint32_t limit_count;
  char model_dirs[CONFIG_MODEL_DIRS][CONFIG_PATH];
  uint32_t model_dir_count;
  uint64_t cache_ttl_ns;
  uint64_t mover_idle_ns; /* how long the mover of a card outlives its last task */
};

/* Why it was refused, and where that stands: "/etc/memkeep/memkeep.conf:3", "--listen",
 * "MEMKEEP_LISTEN". */
struct config_refusal {
  char where[CONFIG_PATH + 32];
  struct problem problem;
};

/* Reads all four places; may be called again (SIGHUP) with the same words. On failure *out is NULL.
 * With --help or --version nothing else is looked at. */
enum status config_load(int argc, char **argv, struct config **out, struct config_refusal *refusal);
/* Forgets the secrets too; NULL is fine. */
void config_free(struct config *config);
/* Every setting, with its flag, key, variable and a sentence. */
void config_help(FILE *out);

#endif
