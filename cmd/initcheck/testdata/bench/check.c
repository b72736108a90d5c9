/*
 * check reads what initcheck reads and decides by the floor and the modules of its policy:
 * exit code 0 and the stamp, or 1. What cannot be read refuses.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define STAMP "/run/initcheck/pass"

enum { MAX_MODULES = 1024, MAX_TEXT = 4 << 20 };

static char *blocked[MAX_MODULES];
static int count, refused;

static void refuse(const char *why, const char *what)
{
	fprintf(stderr, "check: refuse: %s %s\n", why, what);
	refused = 1;
}

/* text reads a whole file, which has an end and no zero in it. */
static char *text(const char *name)
{
	static char empty[1];
	int f = open(name, O_RDONLY | O_CLOEXEC);
	size_t size = 0, room = 16 << 10;
	char *data = malloc(room + 1);
	ssize_t n = -1;
	while (f >= 0 && (n = read(f, data + size, room - size)) > 0 && (size += n) <= MAX_TEXT)
		if (size == room)
			data = realloc(data, (room *= 2) + 1);
	if (f < 0 || n != 0) {
		refuse("cannot read", name);
		return empty;
	}
	close(f);
	data[size] = 0;
	return data;
}

static int is_blocked(const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(blocked[i], name) == 0)
			return 1;
	return 0;
}

static void judge(char *name, const char *source)
{
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	if (is_blocked(name))
		refuse(source, name);
}

/* columns judges the first word of each line. */
static void columns(const char *source)
{
	for (char *line = text(source), *next; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		line[strcspn(line, " ")] = 0;
		judge(line, source);
	}
}

/* protocols looks for those that af_alg and rxrpc register. */
static void protocols(const char *source)
{
	char *all = text(source);
	if (strstr(all, "\nALG ") && is_blocked("af_alg"))
		refuse(source, "ALG");
	if (strstr(all, "\nRXRPC ") && is_blocked("rxrpc"))
		refuse(source, "RXRPC");
}

/* built_in judges lines like kernel/crypto/af_alg.ko. */
static void built_in(const char *source)
{
	for (char *line = text(source), *next; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		char *base = strrchr(line, '/');
		char *end = strrchr(line, '.');
		if (!base || !end)
			continue;
		*end = 0;
		judge(base + 1, source);
	}
}

static void present(const char *source)
{
	DIR *dir = opendir(source);
	if (!dir) {
		refuse("cannot read", source);
		return;
	}
	for (struct dirent *e; (e = readdir(dir));)
		judge(e->d_name, source);
	closedir(dir);
}

static void floor_of(const char *lowest, const char *running)
{
	int want[3] = {0}, got[3] = {0};
	sscanf(lowest, "%d.%d.%d", want, want + 1, want + 2);
	if (sscanf(running, "%d.%d.%d", got, got + 1, got + 2) < 2)
		refuse("cannot tell the release", running);
	for (int i = 0; i < 3; i++) {
		if (got[i] < want[i])
			refuse("below the floor:", running);
		if (got[i] != want[i])
			return;
	}
}

/* policy reads the names and gives the floor. */
static char *policy(void)
{
	char *lowest = NULL;
	for (char *line = text("/usr/lib/kerngate/policy.toml"), *next; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		char *quote = strchr(line, '"'), *end = strrchr(line, '"');
		if (end)
			*end = 0;
		if (strncmp(line, "floor = ", 8) == 0 && quote)
			lowest = quote + 1;
		if (strncmp(line, "name = ", 7) == 0 && quote && count < MAX_MODULES)
			blocked[count++] = quote + 1;
	}
	if (!lowest || count == 0)
		refuse("the policy has no floor or no module:", "policy.toml");
	return lowest ? lowest : "0";
}

int main(void)
{
	struct utsname kernel;
	char name[sizeof kernel.release + 64];
	unlink(STAMP);
	text("/proc/sys/kernel/random/boot_id");
	text("/proc/uptime");
	uname(&kernel);
	char *lowest = policy();
	present("/sys/module");
	protocols("/proc/net/protocols");
	columns("/proc/modules");
	snprintf(name, sizeof name, "/usr/lib/modules/%s/modules.builtin", kernel.release);
	built_in(name);
	floor_of(lowest, kernel.release);
	if (refused)
		return 1;
	int stamp = open(STAMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return stamp < 0 || write(stamp, "pass\n", 5) != 5 || close(stamp) != 0;
}
