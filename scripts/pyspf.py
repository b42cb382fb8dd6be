"""Answers SPF checks by pyspf, for the differential test and the benchmark.

One check a line on standard input, as JSON: zone (owner -> list of [kind, value] or ["FAIL", kind]), ip, mail_from, helo. One
answer a line on standard output: result and explanation, or with --rate the checks a second.
"""

import ipaddress
import json
import sys
import time

import spf

zone = {}


def lookup(name, qtype, strict=True, timeout=None):
    """What pyspf asks DNS by: every record of the kind, and CNAMEs; trouble as its own exception."""
    for kind, value in zone.get(name.lower().rstrip("."), []):
        if kind == "FAIL":
            if value == qtype:
                raise spf.TempError("DNS timeout")
            continue
        if kind != qtype and kind != "CNAME":
            continue
        if kind == "AAAA":
            value = ipaddress.ip_address(value).packed
        elif kind == "TXT":
            value = (value.encode("utf-8"),)
        elif kind == "MX":
            value = (value[0], value[1])
        yield (name, kind), value


spf.DNSLookup = lookup
spf.EXPLANATIONS["fail"] = "DEFAULT"


def check(line):
    query = spf.query(i=line["ip"], s=line["mail_from"], h=line["helo"], receiver="mx.example.org", querytime=0)
    query.set_default_explanation("DEFAULT")
    result, _, explanation = query.check()
    return result, explanation


for text in sys.stdin:
    line = json.loads(text)
    zone = line["zone"]
    if "--rate" in sys.argv:
        checks, began = 0, time.perf_counter()
        while time.perf_counter() - began < 1.0:
            check(line)
            checks += 1
        print(json.dumps({"rate": checks / (time.perf_counter() - began)}))
        continue
    try:
        result, explanation = check(line)
    except Exception as error:  # what pyspf does not catch itself
        result, explanation = "crash", repr(error)
    print(json.dumps({"result": result, "explanation": explanation}), flush=True)
