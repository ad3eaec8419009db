#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes spec/prices.json from a price book: tools/gen-prices.py PRICE-BOOK.json > spec/prices.json

Keeps what src/ledger/prices.c reads: for each offer its figures, in the units in which they are published, each with its source and with how far it
was checked: A price list with rate codes, B tests of a cost tool made from the provider's price interface, C provider's page or blog, D another page
quoting the provider, M from memory, not verified (which is shown wherever it is used).
"""
import json
import sys

MACHINE = {
    "usd_hour": 0.01,
    "note": "Default price of the machine that Tandem runs on, in USD per hour: 50 W at 0.20 USD per kWh, or a rented server of about "
            "7.30 USD a month. How to set your own: docs/state.md. It is split over CPUs and memory as Fargate prices a vCPU and a GB.",
}
# vCPUs, GiB, and the vCPUs that may be used all the time (of T types the baseline). Their documentation; from memory.
EC2_SIZES = {
    "t3.nano": (2, 0.5, 0.1), "t3.micro": (2, 1, 0.2), "t3.small": (2, 2, 0.4), "t3.medium": (2, 4, 0.4), "t3.large": (2, 8, 0.6),
    "t3a.large": (2, 8, 0.6), "m5.large": (2, 8, 2), "m6i.large": (2, 8, 2), "m5.2xlarge": (8, 32, 8), "m5.4xlarge": (16, 64, 16),
}
# Where the book grades several figures in one sentence.
MEMORY = {
    ("cloud-run", "gib_s"), ("cloud-run", "request"), ("cloud-run-instance", "gib_s"), ("cloud-run-instance", "free"),
    ("azure-functions", "free"), ("azure-container-apps", "idle_vcpu_s"), ("azure-container-apps", "idle_gib_s"),
    ("azure-container-apps", "request_million"), ("azure-container-apps", "free"),
}


def tiers(rows, upto, scale=1):
    return [{"upto": None if r[upto] is None else r[upto] * scale, "usd": r["usd"]} for r in rows]


def offer(name, row, figures, rules):
    """One offer whose figures share a section of the book."""
    def one(key, value):
        return {**value, "src": row["src"], "v": "M" if (name, key) in MEMORY else row["v"][0]}
    out = {key: one(key, {"usd": row[of]}) for key, of in figures.items()}
    if "free" in row:
        free = {"requests" if k == "executions" else k.replace("gb_s", "gib_s"): v for k, v in row["free"].items()}
        out["free"] = one("free", free)
    return {**out, "rules": rules}


def aws(book):
    lam, far, ec2 = book["lambda"], book["fargate_linux"], book["ec2_on_demand_linux"]
    figure = lambda row: {"usd": row["usd"], "src": row["src"], "v": row["v"]}
    out = {"aws-lambda": {"request": figure(lam["request"])}, "aws-fargate": {}}
    for arch in ("x86", "arm"):
        duration = lam[f"duration_{arch}"]
        out["aws-lambda"] |= {
            f"gib_s_{arch}": {**figure(duration), "tiers": tiers(duration["tiers"], "upto_gb_s_month"), "tiers_v": duration["tiers_v"][0]},
            f"kept_gib_s_{arch}": figure(lam[f"provisioned_concurrency_{arch}"]),
            f"kept_run_gib_s_{arch}": figure(lam[f"duration_provisioned_{arch}"]),
        }
        out["aws-fargate"] |= {f"vcpu_hour_{arch}": figure(far[f"vcpu_hour_{arch}"]), f"gib_hour_{arch}": figure(far[f"gb_hour_{arch}"])}
    free = lam["free_tier_month"]
    out["aws-lambda"] |= {"free": {"requests": free["requests"], "gib_s": free["gb_s"], "src": free["src"], "v": free["v"]}, "rules": lam["rules"]}
    out["aws-fargate"]["rules"] = far["rules"]
    out["aws-ec2"] = {
        "types": [{"name": n, "usd_hour": ec2[n], "vcpu": c, "gib": g, "sustained_vcpu": s, "src": ec2["src"],
                   "v": "M" if n == "t3a.large" else "B", "size_v": "M"} for n, (c, g, s) in EC2_SIZES.items()],
        "rules": ec2["rules"],
    }
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        book = json.load(f)
    run, azure = book["gcp"]["cloud_run"], book["azure"]
    offers = aws(book["aws"])
    for tier, suffix in (("tier1", ""), ("tier2", "-tier2")):
        by_request = {"vcpu_s": "vcpu_s", "gib_s": "gib_s", "request": "request"}
        offers["cloud-run" + suffix] = offer("cloud-run" + suffix, run[f"{tier}_request_based"], by_request, run["rules"])
        by_request.pop("request")
        offers["cloud-run-instance" + suffix] = offer("cloud-run-instance" + suffix, run[f"{tier}_instance_based"], by_request, run["rules"])
    functions, apps = azure["functions_consumption"], azure["container_apps_consumption"]
    offers["azure-functions"] = offer("azure-functions", functions, {"gib_s": "gb_s", "request_million": "per_million"},
                                      {"rule": functions["rules"], "v": "M"})
    offers["azure-container-apps"] = offer("azure-container-apps", apps, {
        "vcpu_s": "vcpu_s_active", "gib_s": "gib_s_active", "idle_vcpu_s": "vcpu_s_idle", "idle_gib_s": "gib_s_idle",
        "request_million": "per_million_requests"}, {"rule": "whole seconds; 2 GiB for each vCPU, in steps of 0.25 vCPU", "v": "M"})
    api = {kind: {"usd": book["aws"][f"apigw_{kind}"]["per_million"][0]["usd"], "src": book["aws"][f"apigw_{kind}"]["src"],
                  "v": book["aws"][f"apigw_{kind}"]["v"][0], "tiers": tiers(book["aws"][f"apigw_{kind}"]["per_million"], "upto_m")}
           for kind in ("rest", "http")}
    json.dump({
        "about": "SPDX-License-Identifier: Apache-2.0. List prices in USD, on demand; the free tiers are used only when asked for. "
                 "Made by tools/gen-prices.py, which says what \"v\" means.",
        "as_of": book["as_of"],
        "region": book["aws"]["region"],
        "machine": MACHINE,
        "offers": offers,
        "api_gateway_million": api,
        "sources": book["sources"],
    }, sys.stdout, indent="\t", ensure_ascii=False)
    print()


main()
