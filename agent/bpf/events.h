/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the kernel side tells the agent, and what the agent tells the kernel side. The only place where these
 * layouts are written: build.py turns them, by way of the object's BTF, into killdeer_agent/kernel/layout.py.
 */
#pragma once

enum kd_kind {
	KD_SIGNAL = 1,
	KD_EXIT = 2,
	KD_EXEC = 3,
	KD_OOM = 4,
	KD_CGROUP = 5,
};

enum kd_flag {
	KD_WATCHED = 1,	    /* its target is in `watch` */
	KD_NO_SENDER = 2,   /* sent by the kernel itself; whoever ran at that moment had no part in it */
	KD_DOUBTFUL = 4,    /* before Linux 6.16 two last threads can both claim to be the last: may come twice */
	KD_LIMIT_FOUND = 8, /* a memory cgroup whose limit it was for was found */
	KD_FATAL = 16,	    /* the process dies of this signal: the kernel has begun to end it, or is about to dump its core */
	KD_INTERNAL = 32,   /* no call of the sender's: the kernel sent it in the doing of something else */
	KD_EXITING = 64,    /* who ran at that moment was on its way out, where nobody can call anything */
	KD_NS_INIT = 128,   /* who ran at that moment is the first process of its pid namespace */
	KD_OOM_GROUP = 256, /* memory.oom.group: the kernel kills all of the victim's cgroup */
};

/*
 * Slots of `lost`: those that did not fit in the ring `bulk` by their kind, of `rare` from 8 on, of `ends` from 16.
 * From 24 on those that were passed over, since nobody asks for them.
 */
enum kd_lost {
	KD_LOST_SIGNAL = KD_SIGNAL,
	KD_LOST_EXEC = KD_EXEC,
	KD_LOST_RARE = 8,
	KD_LOST_WATCHED_SIGNAL = KD_LOST_RARE + KD_SIGNAL,
	KD_LOST_WATCHED_EXIT = KD_LOST_RARE + KD_EXIT,
	KD_LOST_WATCHED_EXEC = KD_LOST_RARE + KD_EXEC,
	KD_LOST_OOM = KD_LOST_RARE + KD_OOM,
	KD_LOST_ENDS = 16,
	KD_LOST_DEADLY_SIGNAL = KD_LOST_ENDS + KD_SIGNAL,
	KD_LOST_EXIT = KD_LOST_ENDS + KD_EXIT,
	KD_LOST_CGROUP = KD_LOST_ENDS + KD_CGROUP,
	KD_LOST_FILTERED = 24,
	KD_LOST_FILTERED_SIGNAL = KD_LOST_FILTERED + KD_SIGNAL,
	KD_LOST_FILTERED_EXIT = KD_LOST_FILTERED + KD_EXIT,
	KD_LOST_SLOTS = 32,
};

struct kd_head {
	__u64 at_boot_ns;
	enum kd_kind kind;
	enum kd_flag flags; /* several, added up */
};

/* A process. Pids are those of the agent's pid namespace, 0 where it is not in it. */
struct kd_party {
	__u64 start_ns; /* CLOCK_BOOTTIME of its first thread's start */
	__u64 cgroup_id; /* unified hierarchy; the memory controller's where that one is not in use */
	__u64 file; /* inode of what it executes; 0 where that is not known any more */
	__u32 file_device; /* as the kernel has it: 12 bits major, 20 bits minor */
	__u32 pid_ns; /* inode of the pid namespace it is in */
	__u32 pid;
	__u32 tid;
	__u32 parent_pid;
	__u32 host_pid;
	__u32 uid; /* real, of the initial user namespace */
	__u8 name[16];
	__u32 pad;
};

struct kd_signal {
	struct kd_head head;
	struct kd_party sender;
	struct kd_party target;
	__s32 signal;
	__s32 code; /* si_code */
	__s32 verdict; /* TRACE_SIGNAL_* of the kernel */
	__u32 group;
};

struct kd_exit {
	struct kd_head head;
	struct kd_party process;
	__u32 status; /* as wait(2) gives it: low 7 bits signal, 0x80 core, then the code */
	__u32 pad;
};

struct kd_exec {
	struct kd_head head;
	struct kd_party process;
	__u8 file[128]; /* as it was asked for; cut, always ended by NUL */
};

struct kd_oom {
	struct kd_head head;
	struct kd_party victim;
	struct kd_party trigger;
	__u64 total_vm; /* pages, as all below but page_tables */
	__s64 anon_rss;
	__s64 file_rss;
	__s64 shmem_rss;
	__u64 page_tables; /* bytes */
	__u64 limit_cgroup_id;
	__u64 limit; /* pages */
	__s64 oom_score_adj;
};

/* A cgroup was made. It may go before the agent can look for it, and its last process's death is told later. */
struct kd_cgroup {
	struct kd_head head;
	__u64 id;
	__u8 path[256]; /* from the root of its hierarchy; always ended by NUL */
};

/* Set by the agent before anything is attached; may change at any time. Nothing in it is about the watched. */
struct kd_config {
	__u64 signals; /* bit n-1: signal n is told of, whoever it is for; those that end a process always are */
	__u64 tick_ns; /* length of a clock tick of /proc/PID/stat */
	__u32 pid_ns; /* inode of the agent's pid namespace */
	__u32 watching; /* how many are in `watch` */
	__u32 verdicts; /* bit n: signals that the kernel gave this verdict, TRACE_SIGNAL_*, are told of */
	__u32 choosing; /* how many are in `chosen` */
};

union kd_event {
	struct kd_signal signal;
	struct kd_exit exit;
	struct kd_exec exec;
	struct kd_oom oom;
	struct kd_cgroup cgroup;
	enum kd_lost slot; /* no event; only what is referred to gets into the BTF */
};
