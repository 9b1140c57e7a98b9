"""What a run has shown, for people and programs: from the wire's report to HTML, Markdown or JSON. Pure.

Wants the extra `killdeer[report]`; the modules that need each part of it import it, and nobody else does.
"""
