"""A whole fleet on one machine, for trying and for tests: what stands behind `killdeer sandbox`.

    killdeer sandbox ── starts ──> keeper ──> killdeer-coordinator
                                      └─────> host (a pid namespace each) ──> killdeer-agent
                                                                     └──────> workers, restarted when they die

The keeper ends everything it started when it is told to, or dies: its hosts are pid namespaces, and a namespace
ends with its first process.
"""
