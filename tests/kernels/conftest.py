import os

# What is in there installs Killdeer as a service of the machine, and strikes it.
collect_ignore = [] if "KILLDEER_GUEST" in os.environ else ["inside"]
