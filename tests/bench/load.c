// The loads of tests/bench: each plays its operations as fast as it can and prints what it was, as one line of JSON.
//
//   load KIND COUNT [NAME=NUMBER...]
//
// KIND   connections: the classic connection, over and over: 16, 699 and 8 bytes, an answer of five writes, the end
//        bytes: one byte there and one back over one connection
//        open: a write and its read over one of several connections, chosen at random
//        elsewhere: no Unix socket: a file is written and read, a byte goes there and back over loopback TCP
//        preempted: a byte is written and read; on the same cpu an urgent thread wakes all the time, and does it too
// NAME   processes (1 or 2): who plays the ends; open: connections that are open; blocked: threads that sleep in read();
//        failing: one of so many connections fails; interval: us that the urgent thread sleeps
//
// A tenth of COUNT is played before the clock is read. "units" is what was played after that; of preempted, all.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

static const int request[] = {16, 699, 8}, answer[] = {8, 43, 8, 11, 24};

// What the command line says; 0: it does not.
static long count, processes = 1, connections_open, blocked, failing, interval = 60;

// How often the urgent thread was there, and whether it may stop.
static long urgent;
static volatile int over;

static char buffer[4096];
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void must(int condition, const char *what)
{
	if (!condition) {
		perror(what);
		_exit(1);
	}
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void put(int end, size_t size)
{
	must(write(end, buffer, size) == (ssize_t)size, "write");
}

static void get(int end, size_t size)
{
	// Two processes: what was written in parts may come in parts.
	while (size) {
		ssize_t done = read(end, buffer, size);

		must(done > 0, "read");
		size -= done;
	}
}

static void pair(int ends[2])
{
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
}

static int listening(void)
{
	int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "/run/load.%d", (int)getpid());
	must(!bind(end, (void *)&address, sizeof(address)) && !listen(end, 128), "listen");
	return end;
}

static int connected(void)
{
	int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(!connect(end, (void *)&address, sizeof(address)), "connect");
	return end;
}

static int accepted(int listener)
{
	int end = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	must(end >= 0, "accept");
	return end;
}

static void *sleep_in_read(void *end)
{
	char byte;

	if (read((int)(intptr_t)end, &byte, 1) < 0)
		perror("read");
	return NULL;
}

// Threads that sleep in read() until this process ends; they share no socket, so nobody waits for a lock.
static void block(void)
{
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (long number = 0; number < blocked; number++) {
		pthread_t thread;
		int ends[2];

		pair(ends);
		errno = pthread_create(&thread, &small, sleep_in_read, (void *)(intptr_t)ends[0]);
		must(!errno, "pthread_create");
	}
}

// Those that are played before the clock is read have negative numbers.
static long warm(void)
{
	return count / 10;
}

// Whether a connection fails: the ends of two processes have to be of one mind.
static int fails(long number)
{
	return failing && (number + warm()) % failing == failing - 1;
}

static void fail_to_write(int end)
{
	must(write(end, buffer, 8) < 0 && errno == EPIPE, "a write that has to fail");
}

// 21 operations; 14 where it fails: the server has answered and closed before the client's last 8 bytes.
static void connection_of_one(int listener, long number)
{
	int client = connected(), server = accepted(listener), last = COUNT_OF(request) - fails(number);

	for (int each = 0; each < last; each++) {
		put(client, request[each]);
		get(server, request[each]);
	}
	for (unsigned each = 0; each < COUNT_OF(answer); each++) {
		put(server, answer[each]);
		if (!fails(number))
			get(client, answer[each]);
	}
	close(server);
	if (fails(number))
		fail_to_write(client);
	else
		must(!read(client, buffer, 1), "the end of the stream");
	close(client);
}

static void server_of_two(int listener, long from)
{
	for (long number = from; number < count; number++) {
		int server = accepted(listener), last = COUNT_OF(request) - fails(number);

		for (int each = 0; each < last; each++)
			get(server, request[each]);
		for (unsigned each = 0; each < COUNT_OF(answer); each++)
			put(server, answer[each]);
		close(server);
	}
}

static void client_of_two(long number)
{
	int client = connected(), last = COUNT_OF(request) - fails(number);

	for (int each = 0; each < last; each++)
		put(client, request[each]);
	for (unsigned each = 0; each < COUNT_OF(answer); each++)
		get(client, answer[each]);
	must(!read(client, buffer, 1), "the end of the stream");
	if (fails(number))
		fail_to_write(client);
	close(client);
}

static pid_t child_that(void (*part)(int, long), int end, long from)
{
	pid_t child = fork();

	must(child >= 0, "fork");
	if (!child) {
		part(end, from);
		_exit(0);
	}
	return child;
}

static void wait_for(pid_t child)
{
	int status;

	must(waitpid(child, &status, 0) == child && !status, "the other process");
}

static uint64_t play_connections(uint64_t *ended)
{
	int listener = listening();
	uint64_t begun = 0;
	pid_t server = 0;

	block();
	if (processes == 2)
		server = child_that(server_of_two, listener, -warm());
	for (long number = -warm(); number < count; number++) {
		if (!number)
			begun = now();
		if (server)
			client_of_two(number);
		else
			connection_of_one(listener, number);
	}
	*ended = now();
	if (server)
		wait_for(server);
	unlink(address.sun_path);
	return begun;
}

static void answer_bytes(int end, long from)
{
	for (long number = from; number < count; number++) {
		get(end, 1);
		put(end, 1);
	}
}

static uint64_t play_bytes(uint64_t *ended)
{
	int ends[2];
	uint64_t begun = 0;
	pid_t other = 0;

	pair(ends);
	block();
	if (processes == 2)
		other = child_that(answer_bytes, ends[1], -warm());
	for (long number = -warm(); number < count; number++) {
		if (!number)
			begun = now();
		put(ends[0], 1);
		if (!other) {
			get(ends[1], 1);
			put(ends[1], 1);
		}
		get(ends[0], 1);
	}
	*ended = now();
	if (other)
		wait_for(other);
	return begun;
}

static uint64_t play_open(uint64_t *ended)
{
	rlim_t descriptors = 2 * connections_open + 64;
	struct rlimit limit;
	int *clients = calloc(connections_open, sizeof(*clients)), *servers = calloc(connections_open, sizeof(*servers));
	int listener = listening();
	unsigned random = 1;
	uint64_t begun = 0;

	must(!getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
	if (limit.rlim_cur < descriptors) {
		limit.rlim_cur = descriptors;
		// Only root may go beyond it.
		if (limit.rlim_max < descriptors)
			limit.rlim_max = descriptors;
		must(!setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
	}
	for (long number = 0; number < connections_open; number++) {
		clients[number] = connected();
		servers[number] = accepted(listener);
	}
	for (long number = -warm(); number < count; number++) {
		long chosen;

		if (!number)
			begun = now();
		random = random * 1664525 + 1013904223;
		chosen = (uint64_t)random * connections_open >> 32;
		put(clients[chosen], 100);
		get(servers[chosen], 100);
	}
	*ended = now();
	unlink(address.sun_path);
	return begun;
}

static uint64_t play_elsewhere(uint64_t *ended)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(loopback);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server, one = 1;
	int file = open("/run", O_TMPFILE | O_RDWR, 0600);
	uint64_t begun = 0;

	must(file >= 0, "open");
	must(!bind(listener, (void *)&loopback, size) && !listen(listener, 1), "listen");
	must(!getsockname(listener, (void *)&loopback, &size), "getsockname");
	must(!connect(client, (void *)&loopback, size), "connect");
	server = accepted(listener);
	must(!setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "setsockopt");
	must(!setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "setsockopt");
	for (long number = -warm(); number < count; number++) {
		if (!number)
			begun = now();
		must(pwrite(file, buffer, 699, 0) == 699 && pread(file, buffer, 699, 0) == 699, "a file");
		put(client, 1);
		get(server, 1);
		put(server, 1);
		get(client, 1);
	}
	*ended = now();
	return begun;
}

static void *be_urgent(void *unused)
{
	struct sched_param urgency = {.sched_priority = 50};
	struct timespec next;
	int ends[2];

	must(!sched_setscheduler(0, SCHED_FIFO, &urgency), "sched_setscheduler");
	pair(ends);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!over) {
		// Not always after the same time, or it would come at the same places.
		next.tv_nsec += interval * 1000 + urgent * 7919 % 1000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		put(ends[0], 1);
		get(ends[1], 1);
		urgent++;
	}
	return unused;
}

static uint64_t play_preempted(uint64_t *ended)
{
	uint64_t begun = now();
	pthread_t thread;
	cpu_set_t cpu;
	int ends[2];

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	must(!sched_setaffinity(0, sizeof(cpu), &cpu), "sched_setaffinity");
	pair(ends);
	errno = pthread_create(&thread, NULL, be_urgent, NULL);
	must(!errno, "pthread_create");
	for (long number = 0; number < count; number++) {
		put(ends[0], 1);
		get(ends[1], 1);
	}
	over = 1;
	pthread_join(thread, NULL);
	*ended = now();
	return begun;
}

static void option(char *text)
{
	static const struct {
		const char *name;
		long *value;
	} options[] = {{"processes", &processes}, {"open", &connections_open}, {"blocked", &blocked}, {"failing", &failing}, {"interval", &interval}};
	char *value = strchr(text, '=');

	for (unsigned each = 0; value && each < COUNT_OF(options); each++)
		if (!strncmp(text, options[each].name, value - text) && !options[each].name[value - text]) {
			*options[each].value = atol(value + 1);
			return;
		}
	fprintf(stderr, "load: %s is not an option\n", text);
	exit(2);
}

int main(int words, char **word)
{
	static const struct {
		const char *name;
		uint64_t (*play)(uint64_t *);
	} kinds[] = {{"connections", play_connections}, {"bytes", play_bytes}, {"open", play_open}, {"elsewhere", play_elsewhere}, {"preempted", play_preempted}};

	signal(SIGPIPE, SIG_IGN);
	count = words > 2 ? atol(word[2]) : 0;
	for (int each = 3; each < words; each++)
		option(word[each]);
	for (unsigned each = 0; count > 0 && each < COUNT_OF(kinds); each++)
		if (!strcmp(word[1], kinds[each].name)) {
			uint64_t ended, begun = kinds[each].play(&ended);
			// Also those before the clock was read.
			long failed = failing ? (count + warm()) / failing : 0;

			printf("{\"begun\": %llu, \"ended\": %llu, ", (unsigned long long)begun, (unsigned long long)ended);
			printf("\"units\": %ld, \"failed\": %ld}\n", count + urgent, failed);
			return 0;
		}
	fprintf(stderr, "usage: load connections|bytes|open|elsewhere|preempted COUNT [NAME=NUMBER...]\n");
	return 2;
}
