/*
 * race ROUNDS ENV... -- PROGRAM ARG... [-- PROGRAM ARG...]...
 *
 * Runs each program ROUNDS times, in turn, and prints a line for each run: the place of
 * the program, its exit code, nanoseconds of wall time, of processor time, and its largest
 * resident set in KiB. What the programs say goes to file descriptor 3.
 *
 * In C because a program inherits the resident set of the one that starts it, and
 * because the cost of a start would be counted for each.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { MAX = 16 };

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long nanoseconds(struct timeval t) { return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL; }

static void run(int place, char **argv, char **env, posix_spawn_file_actions_t *actions)
{
	struct rusage used;
	pid_t pid;
	int status;
	long long start = now();
	if (posix_spawn(&pid, argv[0], actions, NULL, argv, env) != 0 || wait4(pid, &status, 0, &used) != pid) {
		fprintf(stderr, "race: cannot run %s\n", argv[0]);
		exit(1);
	}
	long long wall = now() - start;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	printf("%d %d %lld %lld %ld\n", place, code, wall, nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime), used.ru_maxrss);
}

int main(int argc, char **argv)
{
	char **programs[MAX];
	int count = -1; /* the first part is the environment */
	char **env = argv + 2;
	posix_spawn_file_actions_t actions;
	if (argc < 4)
		return 2;
	for (int i = 2; i < argc && count < MAX; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		argv[i] = NULL;
		if (++count < MAX)
			programs[count] = argv + i + 1;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 3, 1);
	posix_spawn_file_actions_adddup2(&actions, 3, 2);
	for (int round = atoi(argv[1]); round > 0; round--)
		for (int i = 0; i <= count && i < MAX; i++)
			run(i, programs[i], env, &actions);
	return 0;
}
