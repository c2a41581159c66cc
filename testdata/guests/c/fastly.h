// The few hostcalls that the C guests use, declared by hand: there is no public SDK for C, so these guests
// show what a program that speaks the guest ABI directly looks like. Each call returns a status, 0 for ok.
#ifndef GUESTS_FASTLY_H
#define GUESTS_FASTLY_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t fastly_status;
typedef uint32_t fastly_handle;

#define FASTLY_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

FASTLY_IMPORT("fastly_abi", "init")
fastly_status fastly_abi_init(uint64_t version);

FASTLY_IMPORT("fastly_http_req", "body_downstream_get")
fastly_status fastly_http_req_body_downstream_get(fastly_handle *req, fastly_handle *body);

FASTLY_IMPORT("fastly_http_req", "uri_get")
fastly_status fastly_http_req_uri_get(fastly_handle req, char *buf, size_t buf_len, size_t *written);

FASTLY_IMPORT("fastly_http_resp", "new")
fastly_status fastly_http_resp_new(fastly_handle *resp);

FASTLY_IMPORT("fastly_http_resp", "status_set")
fastly_status fastly_http_resp_status_set(fastly_handle resp, uint32_t status);

FASTLY_IMPORT("fastly_http_resp", "header_insert")
fastly_status fastly_http_resp_header_insert(fastly_handle resp, const char *name, size_t name_len,
                                             const char *value, size_t value_len);

FASTLY_IMPORT("fastly_http_resp", "send_downstream")
fastly_status fastly_http_resp_send_downstream(fastly_handle resp, fastly_handle body, uint32_t streaming);

FASTLY_IMPORT("fastly_http_body", "new")
fastly_status fastly_http_body_new(fastly_handle *body);

FASTLY_IMPORT("fastly_http_body", "write")
fastly_status fastly_http_body_write(fastly_handle body, const char *buf, size_t buf_len, uint32_t end,
                                     size_t *written);

#endif
