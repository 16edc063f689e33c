/*
 * url: a token goes to the host that was named and to nobody else: no redirect is followed, no
 * proxy asked. Over https the certificate must hold; SSL_CERT_FILE may name one's own.
 */
#include "cli/url.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/version.h"

#define CONNECT_SECONDS 5L
#define TOKEN_MAX 4096
#define BLANKS " \t\r\n"

struct url {
  CURL *curl;
  struct curl_slist *headers;
  struct buf base;
  char error[CURL_ERROR_SIZE];
};

/* ---- opening ---- */

static bool is_base(const char *text) {
  bool known = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
  if (!known || strpbrk(text, "?#@" BLANKS))
    return false;
  CURLU *parts = curl_url();
  bool good = parts && !curl_url_set(parts, CURLUPART_URL, text, 0);
  curl_url_cleanup(parts);
  return good;
}

/* Without the blanks around. Empty: it is not one word. */
static void trim(char *text) {
  size_t blanks = strspn(text, BLANKS), n = strlen(text) - blanks;
  memmove(text, text + blanks, n + 1);
  while (n && strchr(BLANKS, text[n - 1]))
    text[--n] = '\0';
  for (const char *at = text; *at; at++)
    if (*at <= ' ' || *at > '~')
      *text = '\0';
}

static enum status read_token(const char *path, char out[TOKEN_MAX], struct problem *problem) {
  FILE *file = fopen(path, "re");
  size_t n = file ? fread(out, 1, TOKEN_MAX, file) : 0;
  int error = !file || ferror(file) ? errno : 0;
  if (file)
    fclose(file);
  if (error)
    return problem_set(problem, STATUS_INVALID_ARGUMENT, "cannot read the token in %.120s: %s",
                       path, strerrordesc_np(error));
  out[n < TOKEN_MAX ? n : 0] = '\0';
  trim(out);
  if (!*out)
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "%.120s holds no token: one word, nothing else", path);
  return STATUS_OK;
}

static bool add_header(struct url *url, const char *text) {
  struct curl_slist *longer = curl_slist_append(url->headers, text);
  if (longer)
    url->headers = longer;
  return longer != NULL;
}

static bool prepare(struct url *url, const char *base, const char *token) {
  struct buf bearer BUF_CLEANUP;
  size_t n = strlen(base);
  while (n && base[n - 1] == '/')
    n--;
  buf_init(&bearer, TOKEN_MAX + 64);
  buf_add(&url->base, base, n);
  buf_text(&url->base);
  buf_print(&bearer, "Authorization: Bearer %s", token);
  bool headers = add_header(url, "Content-Type: application/json") && add_header(url, "Expect:") &&
                 (!*token || add_header(url, buf_text(&bearer)));
  url->curl = curl_easy_init();
  return headers && url->curl && !url->base.failed;
}

enum status url_open(const char *base, const char *token_file, struct url **out,
                     struct problem *problem) {
  char token[TOKEN_MAX] = "";
  if (!is_base(base))
    return problem_set(problem, STATUS_INVALID_ARGUMENT,
                       "--url %.120s is no URL such as http://127.0.0.1:7171", base);
  if (token_file && read_token(token_file, token, problem))
    return problem->status;
  struct url *url = calloc(1, sizeof *url);
  bool good = url && !curl_global_init(CURL_GLOBAL_DEFAULT);
  if (url)
    buf_init(&url->base, TOKEN_MAX);
  if (!good || !prepare(url, base, token)) {
    url_free(url);
    return problem_set(problem, STATUS_INTERNAL_ERROR, "out of memory");
  }
  *out = url;
  return STATUS_OK;
}

void url_free(struct url *url) {
  if (!url)
    return;
  curl_easy_cleanup(url->curl);
  curl_slist_free_all(url->headers);
  buf_done(&url->base);
  free(url);
  curl_global_cleanup();
}

/* ---- asking ---- */

static size_t on_data(char *data, size_t size, size_t count, void *arg) {
  struct buf *answer = arg;
  buf_add(answer, data, size * count);
  return answer->failed ? 0 : size * count;
}

static void set_request(struct url *url, const struct route *route, const char *target) {
  CURL *curl = url->curl;
  curl_easy_setopt(curl, CURLOPT_URL, target);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, route->method);
  if (route->body.size) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)route->body.size);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, route->body.data);
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, url->headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "memkeep/" VERSION_TEXT);
}

static void set_manner(struct url *url, uint64_t timeout_ns, struct buf *answer) {
  CURL *curl = url->curl;
  uint64_t ms = (timeout_ns + CLOCK_MS - 1) / CLOCK_MS;
  const char *certificates = getenv("SSL_CERT_FILE");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms < INT32_MAX ? (long)ms : (long)INT32_MAX);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, url->error);
  if (certificates && *certificates)
    curl_easy_setopt(curl, CURLOPT_CAINFO, certificates);
}

static enum status explain(struct url *url, CURLcode code, struct problem *problem) {
  const char *base = url->base.data;
  const char *why = *url->error ? url->error : curl_easy_strerror(code);
  long sent = 0;
  curl_easy_getinfo(url->curl, CURLINFO_REQUEST_SIZE, &sent);
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    if (sent)
      return problem_set(problem, STATUS_WORKER_TIMEOUT,
                         "no answer within the time that was given");
    return problem_set(problem, STATUS_NOT_FOUND, "%.110s does not answer", base);
  case CURLE_GOT_NOTHING:
  case CURLE_SEND_ERROR:
    return problem_set(problem, STATUS_NOT_FOUND,
                       "the daemon closed the connection without an answer: has it ended?");
  case CURLE_WRITE_ERROR:
    return problem_set(problem, STATUS_INTERNAL_ERROR, "the answer is longer than 4 MiB");
  case CURLE_PEER_FAILED_VERIFICATION:
    return problem_set(problem, STATUS_NOT_FOUND,
                       "%.80s is not trusted (SSL_CERT_FILE may name its certificate): %.100s",
                       base, why);
  case CURLE_SSL_CONNECT_ERROR:
    return problem_set(problem, STATUS_NOT_FOUND,
                       "%.80s does not speak TLS as we do (without TLS it is http://): %.80s", base,
                       why);
  default:
    if (sent)
      return problem_set(problem, STATUS_INTERNAL_ERROR, "the connection to %.80s broke: %.110s",
                         base, why);
    return problem_set(problem, STATUS_NOT_FOUND,
                       "no daemon listens on %.80s: start memkeepd, or name another URL: %.80s",
                       base, why);
  }
}

enum status url_call(struct url *url, const struct route *route, uint64_t timeout_ns,
                     struct buf *answer, struct problem *problem) {
  struct buf target BUF_CLEANUP;
  long http_status = 0;
  buf_init(&target, url->base.size + route->target.size + 1);
  buf_print(&target, "%s%s", url->base.data, route->target.data);
  *url->error = '\0';
  curl_easy_reset(url->curl);
  set_request(url, route, buf_text(&target));
  set_manner(url, timeout_ns, answer);
  CURLcode code = curl_easy_perform(url->curl);
  if (code)
    return explain(url, code, problem);
  curl_easy_getinfo(url->curl, CURLINFO_RESPONSE_CODE, &http_status);
  if (!answer->size || *answer->data != '{')
    return problem_set(problem, STATUS_INTERNAL_ERROR,
                       "%.110s answers %ld, but not as memkeepd does", url->base.data, http_status);
  return STATUS_OK;
}
