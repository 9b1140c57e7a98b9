// What a busy host does, as fast as it can or at a given rate: load KIND COUNT [PER_SECOND]
//
//   kill   signals to itself that no handler sees, counted by every collector that does not filter them
//   cont   the same with SIGCONT, which the agent's collector reports of everybody
//   fork   fork, kill, wait
//   spawn  vfork, exec of true, wait
//
// Prints the nanoseconds that one took.
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fork_and_kill(void)
{
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void spawn_and_wait(void)
{
	char *arguments[] = {"true", NULL};
	pid_t child;
	if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ))
		exit(1);
	waitpid(child, NULL, 0);
}

int main(int count, char **words)
{
	if (count < 3)
		return 2;
	long rounds = atol(words[2]), per_second = count > 3 ? atol(words[3]) : 0;
	int number = strcmp(words[1], "cont") ? SIGURG : SIGCONT;
	void (*round)(void) = !strcmp(words[1], "fork") ? fork_and_kill : !strcmp(words[1], "spawn") ? spawn_and_wait : NULL;
	pid_t self = getpid();
	long long began = now_ns();
	for (long i = 0; i < rounds; i++) {
		while (per_second && now_ns() < began + i * 1000000000LL / per_second)
			;
		if (round)
			round();
		else
			kill(self, number);
	}
	printf("%lld\n", (now_ns() - began) / rounds);
	return 0;
}
