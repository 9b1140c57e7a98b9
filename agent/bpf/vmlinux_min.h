/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The fields of the kernel's own structs that the programs read, and no others. Offsets mean nothing here:
 * libbpf puts in those of the running kernel (CO-RE), by name. A name after three underscores is a flavour:
 * the same struct as other kernels have it; each use is guarded by a test for the field.
 */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	long long counter;
} atomic64_t;
typedef atomic64_t atomic_long_t;

typedef struct {
	int counter;
} atomic_t;

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct kernfs_node {
	__u64 id;
};

union kernfs_node_id {
	__u64 id;
};
struct kernfs_node___union { /* before 5.5 */
	union kernfs_node_id id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};

enum cgroup_subsys_id { memory_cgrp_id = 1 };

struct page_counter {
	atomic_long_t usage;
	unsigned long max;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	_Bool oom_group; /* 4.19 */
	_Bool oom_lock;	 /* from 6.11 on only with CONFIG_MEMCG_V1 */
};

struct percpu_counter {
	__s64 count;
};

struct super_block {
	unsigned int s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
	unsigned long total_vm;
	atomic_long_t pgtables_bytes;
	struct percpu_counter rss_stat[4];
};

struct mm_rss_stat {
	atomic_long_t count[4];
};
struct mm_struct___atomic { /* before 6.2 */
	struct mm_rss_stat rss_stat;
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct sigaction {
	void *sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
	short oom_score_adj;
	struct mm_struct *oom_mm;
};

struct task_struct {
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct pid *thread_pid;
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	struct css_set *cgroups;
	const struct cred *real_cred;
	__u64 start_boottime;
	sigset_t blocked;
	unsigned int flags;
	unsigned int ptrace;
	int exit_code;
	int pid;
	int tgid;
	char comm[16];
};
struct task_struct___real { /* before 5.5 */
	__u64 real_start_time;
};

struct kernel_siginfo {
	int si_code;
};

struct linux_binprm {
	const char *filename;
};

/* Records of the trace files; only asked whether they have the field, which tells a tracepoint's arguments. */
struct trace_event_raw_sched_process_exit {
	_Bool group_dead; /* from 6.16 on: the second argument */
};
struct trace_event_raw_mark_victim {
	short oom_score_adj; /* from 6.8 on, and in stable branches: the first argument is the task, not a pid */
};

#pragma clang attribute pop
