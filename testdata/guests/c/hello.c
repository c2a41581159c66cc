// The smallest useful guest: one status, one header, one line of body. A failing hostcall is the exit code.

#include "fastly.h"
#include <string.h>

#define TRY(call)                  \
	do {                           \
		fastly_status s = (call);  \
		if (s != 0) return (int)s; \
	} while (0)

int main(void) {
	static const char text[] = "hello from c\n";
	fastly_handle resp, body;
	size_t written;
	TRY(fastly_abi_init(1));
	TRY(fastly_http_resp_new(&resp));
	TRY(fastly_http_resp_status_set(resp, 200));
	TRY(fastly_http_resp_header_insert(resp, "x-guest", 7, "c/hello", 7));
	TRY(fastly_http_body_new(&body));
	TRY(fastly_http_body_write(body, text, strlen(text), 0, &written));
	TRY(fastly_http_resp_send_downstream(resp, body, 0));
	return 0;
}
