"""Malformed experiment files, each named by its defect.

In each text ‸ stands before every character that is at fault, and nothing else may be.
"""

MARK = "‸"
HEAD = """\
killdeer: 1
name: x
environment: staging
target: {process: {name: redis-server}}
action: terminate
waves: [{name: one, strikes: 1}]
"""
PROBES = """\
probes:
  healthy: {http: "http://127.0.0.1:8080/healthz"}
  errors: {prometheus: errors_total, server: "http://127.0.0.1:9090"}
  p95: {http: "http://127.0.0.1:8080/pay", take: latency, as: p95, over: 30s}
  cpu: {host: cpu_percent}
  deaths: {events: deaths}
"""

# What stands under the head, and a part of the first message.
PARTS = {
    # probes
    "probes that are a list": ("probes: ‸[a]", "'probes' wants a mapping such as {healthy:"),
    "no probe in probes": ("probes: ‸{}", "wants at least one probe"),
    "probes without a value": ("‸probes:", "found nothing"),
    "a probe that is a URL": ("probes: {a: ‸http://x}", "'a' wants a mapping such as {http:"),
    "a probe without a source": ("probes: {a: ‸{within: 1s}}", "a probe needs a source: one of http, tcp,"),
    "a probe of two sources": ("probes: {a: {tcp: 'x:1', ‸http: 'http://x'}}", "it has 'tcp' already"),
    "a misspelt source": ("probes: {a: {‸htp: 'http://x'}}", "did you mean 'http'?"),
    "an unknown key of a probe": ("probes: {a: {tcp: 'x:1', ‸colour: red}}", "unknown key 'colour'"),
    "a misspelt key of a probe": ("probes: {a: {tcp: 'x:1', ‸wihtin: 1s}}", "did you mean 'within'?"),
    "a name with a blank": ("probes: {‸a b: {tcp: 'x:1'}}", "cannot name a probe 'a b'"),
    "a name that begins with a digit": ("probes: {‸95th: {tcp: 'x:1'}}", "cannot name a probe '95th'"),
    "a name that is a word of sentences": ("probes: {‸for: {tcp: 'x:1'}}", "sentences use it as a word"),
    "a probe twice": ("probes:\n  a: {tcp: 'x:1'}\n  ‸a: {tcp: 'x:2'}", "duplicate key 'a'"),
    "no time to answer": ("probes: {a: {tcp: 'x:1', within: ‸0s}}", "'within' wants more than 0"),
    "time without a unit": ("probes: {a: {tcp: 'x:1', within: ‸5}}", "write a unit, such as 5s"),
    "measured too often": ("probes: {a: {tcp: 'x:1', every: ‸50ms}}", "'every' wants 100ms or more"),
    "freshness of nothing": ("probes: {a: {tcp: 'x:1', fresh_within: ‸soon}}", "cannot read 'soon' as a duration"),
    # http
    "a URL that is none": ("probes: {a: {http: ‸localhost}}", "wants a URL such as"),
    "a URL of another kind": ("probes: {a: {http: ‸'ftp://x/'}}", "wants a URL such as"),
    "a URL without a host": ("probes: {a: {http: ‸'http:///x'}}", "wants a URL such as"),
    "a URL with a port too high": ("probes: {a: {http: ‸'http://x:99999/'}}", "Port out of range"),
    "a URL with a blank": ("probes: {a: {http: ‸'http://x/a b'}}", "others as %20"),
    "a URL with a password": ("probes: {a: {http: ‸'http://u:p@x/'}}", "give it as a header"),
    "a URL with a token": ("probes: {a: {http: ‸'http://x/?token=abc'}}", "'token' in a URL is stored and shown"),
    "http without a URL": ("probes: {a: {‸http: {method: GET}}}", "missing key 'url'"),
    "http as a list": ("probes: {a: {http: ‸[x]}}", "wants a URL, or a mapping"),
    "http without a value": ("probes: {a: {‸http: }}", "found nothing"),
    "a method in small letters": ("probes: {a: {http: {url: 'http://x', method: ‸post}}}", "did you mean 'POST'?"),
    "a status that is none": ("probes: {a: {http: {url: 'http://x', status: ‸99}}}", "from 100 to 599"),
    "a status in a list that is none": (
        "probes: {a: {http: {url: 'http://x', status: [200, ‸ok]}}}",
        "item 2 of 'status' wants an HTTP status",
    ),
    "a secret in the file": (
        "probes: {a: {http: {url: 'http://x', headers: {Authorization: ‸Bearer}}}}",
        "write {env: NAME} or {file: /PATH}",
    ),
    "a header that cannot be sent": (
        "probes: {a: {http: {url: 'http://x', headers: {‸'a b': c}}}}",
        "cannot send a header named 'a b'",
    ),
    "a header from somewhere else": (
        "probes: {a: {http: {url: 'http://x', headers: {A: {‸vault: b}}}}}",
        "unknown key 'vault'",
    ),
    "a variable that cannot be": (
        "probes: {a: {http: {url: 'http://x', headers: {A: {env: ‸a-b}}}}}",
        "the name of an environment variable",
    ),
    "a secret file beside the file": (
        "probes: {a: {http: {url: 'http://x', headers: {A: {file: ‸token}}}}}",
        "a path from the root",
    ),
    "authorities for plain http": (
        "probes: {a: {http: {url: 'http://x', ‸ca_file: /ca.pem}}}",
        "goes with an https URL",
    ),
    # tcp, grpc
    "an address without a port": ("probes: {a: {tcp: ‸localhost}}", "wants HOST:PORT"),
    "an address that is a number": ("probes: {a: {tcp: ‸5432}}", "found the number 5432"),
    "an address with a port too high": ("probes: {a: {tcp: ‸'x:70000'}}", "a port from 1 to 65535"),
    "an address that is a URL": ("probes: {a: {tcp: ‸'http://x:80'}}", "wants HOST:PORT"),
    "grpc without an address": ("probes: {a: {‸grpc: {service: x}}}", "missing key 'address'"),
    "grpc with tls unclear": ("probes: {a: {grpc: {address: 'x:1', tls: ‸maybe}}}", "wants true or false"),
    "authorities without tls": ("probes: {a: {grpc: {address: 'x:1', ‸ca_file: /ca}}}", "goes with tls: true"),
    # prometheus, host, events, command
    "a query without a server": ("probes: {‸a: {prometheus: up}}", "missing key 'server'"),
    "a server of nothing": ("probes: {a: {tcp: 'x:1', ‸server: 'http://x'}}", "'server' goes with 'prometheus'"),
    "headers beside http": (
        "probes: {a: {http: 'http://x', ‸headers: {A: b}}}",
        "write it inside, http: {…, headers: …}",
    ),
    "a host metric that is none": ("probes: {a: {host: ‸cpu_precent}}", "did you mean 'cpu_percent'?"),
    "an event that is none": ("probes: {a: {events: ‸death}}", "did you mean 'deaths'?"),
    "a unit of no events": ("probes: {a: {tcp: 'x:1', ‸unit: x}}", "'unit' goes with 'events'"),
    "a shell for a command": ("probes: {a: {command: ‸'check | wc -l'}}", "write [NAME, ARGUMENT…]"),
    "a command without a name": ("probes: {a: {command: ‸[]}}", "found an empty list"),
    "a path for a command": ("probes: {a: {command: [‸/bin/sh, -c]}}", "the name of a command under [commands]"),
    # take, as, over
    "a misspelt take": ("probes: {a: {http: 'http://x', take: ‸latncy}}", "did you mean 'latency'?"),
    "a JSON path of nothing": (
        "probes: {a: {http: 'http://x', take: ‸json.}}",
        "json.PATH such as json.queue.depth",
    ),
    "a JSON path with a hole": ("probes: {a: {http: 'http://x', take: ‸json.a..b}}", "json.PATH"),
    "a status of a TCP port": ("probes: {a: {tcp: 'x:1', take: ‸status}}", "it gives met or latency"),
    "the latency of a command": (
        "probes: {a: {command: x, take: ‸latency}}",
        "it gives met, status, number or json",
    ),
    "something taken of one number": ("probes: {a: {host: load_1m, ‸take: number}}", "gives one number"),
    "as without over": ("probes: {a: {http: 'http://x', take: latency, ‸as: p95}}", "'as' needs 'over'"),
    "over without as": ("probes: {a: {http: 'http://x', take: latency, ‸over: 5s}}", "'over' needs 'as'"),
    "a percentile that is none": (
        "probes: {a: {http: 'http://x', take: latency, as: ‸p96, over: 5s}}",
        "wants one of p50, p95, p99, max, rate",
    ),
    "a percentile of met or not": ("probes: {a: {tcp: 'x:1', as: ‸p95, over: 5s}}", "whether it is met has no p95"),
    "a rate of a latency": (
        "probes: {a: {tcp: 'x:1', take: latency, as: ‸rate, over: 5s}}",
        "rate is of a counter that grows",
    ),
    "a percentile of events": ("probes: {a: {events: oom, as: ‸max, over: 5s}}", "'events' are counted"),
    "a window shorter than the measure": (
        "probes: {a: {host: load_1m, as: max, every: 10s, over: ‸5s}}",
        "no reading would be in it",
    ),
    # where sentences stand
    "sentences that are no list": (f"{PROBES}steady_state: ‸healthy", "wants a list of sentences"),
    "no sentence": (f"{PROBES}steady_state: ‸[]", "wants at least one sentence"),
    "a sentence that is a number": (f"{PROBES}steady_state: [‸3]", "wants a sentence such as"),
    "a sentence that YAML takes apart": (f"{PROBES}steady_state: [‸{{errors: 3}}]", "found a mapping"),
    "an abort rule without probes": ("abort_when: [‸errors > 3]", "the file has none, add it under probes"),
    "a baseline of nothing": ("‸baseline: 10s", "a baseline of nothing"),
    "a baseline of no time": (f"{PROBES}baseline: ‸0s", "'baseline' wants more than 0"),
    # sentences
    "an unknown probe": (f"{PROBES}steady_state: [healthy, ‸eror < 1]", "did you mean 'errors'?"),
    "an unknown probe that is denied": (f"{PROBES}steady_state: [not ‸halthy]", "did you mean 'healthy'?"),
    "a probe like no other": (f"{PROBES}abort_when: [‸x > 1]", "known here are healthy, errors, p95, cpu, deaths"),
    "no probe": (f"{PROBES}steady_state: ['‸< 3']", "a sentence begins with a probe"),
    "a bound that is missing": (
        f"{PROBES}abort_when: ['errors >‸']",
        "the sentence ends too early: write a number",
    ),
    "a bound that is a word": (f"{PROBES}abort_when: [errors > ‸many]", "cannot read 'many': write a number"),
    "a bound with an unknown unit": (f"{PROBES}abort_when: [errors > ‸3q]", "cannot read '3q'"),
    "one equals sign": (f"{PROBES}abort_when: [errors ‸= 3]", "cannot read '=': write =="),
    "a sign the wrong way round": (f"{PROBES}abort_when: [errors ‸=> 3]", "cannot read '=>': write >="),
    "a sign of mathematics": (f"{PROBES}abort_when: [errors ‸≥ 3]", "cannot read '≥': write >="),
    "two sentences in one": (f"{PROBES}abort_when: [errors > 3 ‸and cpu > 70%]", "write what stands after 'and'"),
    "words too many": (f"{PROBES}abort_when: [errors > 3 ‸please]", "write for LENGTH"),
    "for without a length": (f"{PROBES}abort_when: [errors > 3 for‸]", "the sentence ends too early"),
    "for without a unit": (f"{PROBES}abort_when: [errors > 3 for ‸10]", "such as 10s"),
    "for no time": (f"{PROBES}abort_when: [errors > 3 for ‸0s]", "is more than 0"),
    "not with a comparison": (f"{PROBES}abort_when: [not errors ‸> 3]", "turn the comparison around"),
    "a length without a unit": (
        f"{PROBES}steady_state: [p95 < ‸300]",
        "'p95' is a length of time: write 300ms or 0.3s",
    ),
    "a length in percent": (f"{PROBES}steady_state: [p95 < ‸3%]", "write a length such as 300ms"),
    "a percentage without its sign": (f"{PROBES}preconditions: [cpu < ‸70]", "'cpu' is a percentage: write 70%"),
    "a percentage as a fraction": (f"{PROBES}preconditions: [cpu < ‸0.7]", "write 70%"),
    "a number with a unit": (f"{PROBES}steady_state: [errors < ‸3s]", "'errors' is a plain number"),
    "a number that is not compared": (f"{PROBES}steady_state: [‸p95]", "compare it, such as p95 < 300ms"),
    "a comparison of met or not": (f"{PROBES}steady_state: [healthy ‸> 1]", "write healthy, or not healthy"),
    "a baseline of met or not": (f"{PROBES}abort_when: [healthy ‸< 1x baseline]", "and has no baseline"),
    "a baseline without a factor": (f"{PROBES}abort_when: [errors > ‸baseline]", "such as 1.4x baseline"),
    "a baseline in percent": (f"{PROBES}abort_when: [errors > ‸140% baseline]", "write 1.4x baseline"),
    "a factor without an x": (f"{PROBES}abort_when: [errors > ‸2 baseline]", "write 2x baseline"),
    "a factor of what": (f"{PROBES}abort_when: [errors > 2x ‸baselin]", "write 'baseline' after 2x"),
    "a factor of nothing": (f"{PROBES}abort_when: [errors > ‸0x baseline]", "more than 0"),
    "a floor of a bound of its own": (f"{PROBES}abort_when: [errors > 3 ‸at least 2]", "is for a factor"),
    "a floor of what": (f"{PROBES}abort_when: [errors > 2x baseline at ‸lest 2]", "write 'least' after 'at'"),
    "a floor that is missing": (f"{PROBES}abort_when: [errors > 2x baseline at least‸]", "ends too early"),
    "a floor of another unit": (f"{PROBES}abort_when: [p95 > 2x baseline at least ‸5%]", "is a length of time"),
    "a floor of a factor": (f"{PROBES}abort_when: [cpu > 2x baseline at least ‸3x baseline]", "a bound of its own"),
    "a baseline before there is one": (f"{PROBES}preconditions: [errors < ‸2x baseline]", "no baseline yet"),
    "a baseline of a count": (f"{PROBES}abort_when: [‸deaths > 2x baseline]", "give it a window"),
    "oom in another place": (f"{PROBES}abort_when: [oom in ‸targt]", "write 'target' after 'in'"),
    "something else in target": (f"{PROBES}abort_when: [‸deth in target]", "did you mean 'death'?"),
    "a count in percent": (f"{PROBES}abort_when: [oom in target > ‸5%]", "is a count"),
    "an OOM that is expected": (f"{PROBES}steady_state: [‸oom in target]", "write not oom in target"),
    "a fault within single quotes": (f"{PROBES}steady_state: ['p95 < ‸''x']", 'cannot read "\'x"'),
    "a fault within double quotes": (f'{PROBES}steady_state: ["p\\x395 < \\u0033 ‸y"]', "cannot read 'y'"),
    "a fault in a list of lines": (f"{PROBES}steady_state:\n  - healthy\n  - p95 < ‸1", "write 1s or 1000ms"),
    "a fault in folded text": (f"{PROBES}steady_state:\n  - ‸>-\n    p95\n    < 1", "write 1s or 1000ms"),
    # deeds, recovery, waves
    "load that never stops": ("‸load: {start: {webhook: 'http://x'}}", "missing key 'stop'"),
    "load that never starts": ("‸load: {stop: {webhook: 'http://x'}}", "missing key 'start'"),
    "load as a URL": ("load: ‸'http://x'", "wants a mapping such as {start:"),
    "a deed of nothing": ("on_end: ‸{within: 1s}", "'on_end' wants {webhook: URL} or {command: NAME}"),
    "a deed that is a text": ("on_end: ‸notify", "wants {webhook: URL} or {command: NAME}"),
    "two deeds in one": ("on_end: {command: x, ‸webhook: 'http://x'}", "for both write a list"),
    "no deed": ("on_abort: ‸[]", "wants at least one deed"),
    "a webhook to nowhere": ("on_abort: [{command: x}, {webhook: ‸x}]", "wants a URL such as"),
    "a webhook that looks at the answer": (
        "on_end: {webhook: {url: 'http://x', ‸contains: ok}}",
        "'contains' is for probes",
    ),
    "a misspelt deed": ("on_start: {‸webhok: 'http://x'}", "did you mean 'webhook'?"),
    "ready of an unknown probe": (f"{PROBES}recovery: {{ready: ‸helthy}}", "did you mean 'healthy'?"),
    "ready of a host metric": (f"{PROBES}recovery: {{ready: ‸cpu}}", "takes only http, tcp and grpc probes"),
    "ready of a query": (f"{PROBES}recovery: {{ready: ‸errors}}", "is a probe of 'prometheus'"),
    "ready of events": (f"{PROBES}recovery: {{ready: ‸deaths}}", "is a probe of 'events'"),
    "ready of a command": ("probes: {a: {command: x}}\nrecovery: {ready: ‸a}", "is a probe of 'command'"),
    "ready of a number": (f"{PROBES}recovery: {{ready: ‸p95}}", "ready is met or not"),
    "an unknown step": ("recovery: {then: [resume, ‸start-unit]}", "did you mean 'start_unit'?"),
    "steps that are no list": ("recovery: {then: ‸resume}", "wants a list such as"),
    "no step": ("recovery: {then: ‸[]}", "wants at least one step"),
    "nobody told": ("recovery: {‸else: {}}", "missing key 'notify'"),
    "told in no way": ("recovery: {else: {notify: ‸{}}}", "wants {webhook: URL} or {command: NAME}"),
    "told by a sentence": ("recovery: {else: {notify: ‸call somebody}}", "the name of a command"),
}

WHOLE = {
    "a wave that holds for no time": (
        HEAD.replace("strikes: 1", "strikes: 1, hold: ‸0s"),
        "'hold' wants more than 0",
    ),
    "a wave with a hold misspelt": (HEAD.replace("strikes: 1", "strikes: 1, ‸hodl: 5s"), "did you mean 'hold'?"),
    "every part wrong at once": (
        HEAD.replace("name: x", "‸nam: x").replace("staging", "‸stagin")
        + "probes: {a: {tcp: ‸x}, b: {host: load_1m}}\n"
        + "steady_state: [a, ‸b, ‸c < 1]\nrecovery: {ready: ‸b, within: ‸1}\non_end: ‸[]\n",
        "did you mean 'name'?",
    ),
    "probes misspelt, and nothing said of what names them": (
        HEAD
        + PROBES.replace("probes:", "‸probs:")
        + "steady_state: [healthy, errors < 1%]\nrecovery: {ready: healthy}\n",
        "did you mean 'probes'?",
    ),
}

MALFORMED = {defect: (HEAD + marked, message) for defect, (marked, message) in PARTS.items()} | WHOLE
"""By defect: the text with its marks, and a part of the first message."""


def text_of(marked: str) -> str:
    return marked.replace(MARK, "")


def places(marked: str) -> list[tuple[int, int]]:
    """Line and column of what stands after each mark, in the text without them."""
    return [
        (number, len(text_of(before)) + 1)
        for number, line in enumerate(marked.splitlines(), start=1)
        for before in ["".join(line.split(MARK)[: index + 1]) for index in range(line.count(MARK))]
    ]
