// Uses the C library as an ordinary program would, and answers with what it saw, one "name: value" a line:
// arguments, environment, clocks, sleep, random bytes, the heap, standard streams, files that are not there.
// A request for /exit/N ends the program with exit code N after the response has been sent.

#include "fastly.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char report[32 * 1024];
static size_t report_len;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
	size_t room = sizeof report - report_len;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(report + report_len, room, format, args);
	va_end(args);
	if (n > 0) report_len += (size_t)n < room ? (size_t)n : room - 1;
}

static long long nanoseconds(clockid_t clock) {
	struct timespec now;
	if (clock_gettime(clock, &now) != 0) return -1;
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
	fastly_handle req, req_body, resp, body;
	char uri[8192] = "";
	size_t written = 0;
	if (fastly_abi_init(1) != 0) return 101;
	if (fastly_http_req_body_downstream_get(&req, &req_body) != 0) return 102;
	if (fastly_http_req_uri_get(req, uri, sizeof uri - 1, &written) != 0) return 103;

	say("argc: %d\n", argc);
	for (int i = 0; i < argc; i++) say("argv[%d]: %s\n", i, argv[i]);
	for (char **env = environ; *env != NULL; env++) say("env: %s\n", *env);

	say("wall seconds: %lld\n", nanoseconds(CLOCK_REALTIME) / 1000000000LL);
	long long before = nanoseconds(CLOCK_MONOTONIC);
	struct timespec nap = {.tv_sec = 0, .tv_nsec = 5000000};
	int slept = nanosleep(&nap, NULL);
	long long after = nanoseconds(CLOCK_MONOTONIC);
	say("sleep: %d\n", slept);
	say("slept nanoseconds: %lld\n", after - before);

	unsigned char random[16] = {0};
	say("random: %d ", getentropy(random, sizeof random));
	for (size_t i = 0; i < sizeof random; i++) say("%02x", random[i]);
	say("\n");

	size_t total = 0;
	for (size_t size = 1; size <= 8 << 20; size *= 8) {
		char *block = malloc(size);
		if (block == NULL) break;
		memset(block, 0xa5, size);
		total += size;
		free(block);
	}
	say("heap bytes: %zu\n", total);

	fprintf(stdout, "stdout of c/wasi\n");
	fflush(stdout);
	fprintf(stderr, "stderr of c/wasi\n");
	say("stdin: %d\n", getchar());
	errno = 0;
	FILE *file = fopen("/etc/passwd", "r");
	say("open file: %s\n", file == NULL ? "refused" : "opened");
	errno = 0;
	int wrote = write(7, "x", 1);
	say("write to unknown descriptor: %d %s\n", wrote, errno == EBADF ? "EBADF" : strerror(errno));
	say("isatty: %d\n", isatty(1));

	if (fastly_http_resp_new(&resp) != 0 || fastly_http_body_new(&body) != 0) return 104;
	fastly_http_resp_header_insert(resp, "x-guest", 7, "c/wasi", 6);
	fastly_http_resp_header_insert(resp, "content-type", 12, "text/plain", 10);
	for (size_t at = 0; at < report_len; at += written) {
		if (fastly_http_body_write(body, report + at, report_len - at, 0, &written) != 0) return 105;
	}
	if (fastly_http_resp_send_downstream(resp, body, 0) != 0) return 106;
	const char *code = strstr(uri, "/exit/");
	return code == NULL ? 0 : atoi(code + strlen("/exit/"));
}
