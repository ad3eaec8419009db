#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes spec/prices.json from a price book: tools/gen-prices.py PRICE-BOOK.json > spec/prices.json

Keeps what lanes are compared by; what rows are charged, src/ledger/prices.c reads of it. Each section names its sources and how far they were checked:
A price list with rate codes, B tests of a cost tool made from the provider's price interface, C provider's page,
D another page quoting the provider, M from memory.
"""
import json
import sys

MACHINE = {
    "usd_hour": 0.01,
    "note": "Default price of the machine that Tandem runs on, in USD per hour: 50 W at 0.20 USD per kWh, or a rented server of about "
            "7.30 USD a month. How to set your own: docs/state.md. It is split over CPUs and memory as Fargate prices a vCPU and a GB.",
}


def tiers(rows, upto, usd="usd", scale=1):
    return [{"upto": None if r[upto] is None else r[upto] * scale, "usd": r[usd]} for r in rows]


def checked(*rows):
    """Where the figures of one section come from, each source once."""
    out = []
    for row in rows:
        for text in (f"{row['src']}: {row['v']}" if "src" in row else None, row.get("tiers_v") and f"tiers: {row['tiers_v']}"):
            if text and text not in out:
                out.append(text)
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        book = json.load(f)
    aws, gcp, azure = book["aws"], book["gcp"], book["azure"]
    lam, far, run = aws["lambda"], aws["fargate_linux"], gcp["cloud_run"]
    lambda_names = ("request", "duration_x86", "duration_arm", "provisioned_concurrency_x86", "provisioned_concurrency_arm",
                    "duration_provisioned_x86", "duration_provisioned_arm", "ephemeral_storage")
    cloud_run = {}
    for tier in ("tier1", "tier2"):
        for way in ("request", "instance"):
            row = run[f"{tier}_{way}_based"]
            cloud_run[f"{tier}_{way}"] = {"vcpu_s": row["vcpu_s"], "gib_s": row["gib_s"], "request": row.get("request", 0)}
    fn, apps = azure["functions_consumption"], azure["container_apps_consumption"]
    out = {
        "about": "SPDX-License-Identifier: Apache-2.0. List prices in USD, on demand, no free tier. Made by tools/gen-prices.py.",
        "as_of": book["as_of"],
        "machine": MACHINE,
        "aws": {
            "region": aws["region"],
            "lambda": {
                "request": lam["request"]["usd"],
                "ephemeral_gb_s": lam["ephemeral_storage"]["usd"],
                **{f"duration_gb_s_{a}": tiers(lam[f"duration_{a}"]["tiers"], "upto_gb_s_month") for a in ("x86", "arm")},
                **{f"provisioned_gb_s_{a}": lam[f"provisioned_concurrency_{a}"]["usd"] for a in ("x86", "arm")},
                **{f"duration_provisioned_gb_s_{a}": lam[f"duration_provisioned_{a}"]["usd"] for a in ("x86", "arm")},
                "rules": {"billed_ms": lam["rules"]["billed_ms"], "gb": lam["rules"]["gb"]},
                "sources": checked(*(lam[n] for n in lambda_names), lam["rules"]),
            },
            "fargate": {
                **{f"{k}_{a}": far[f"{k}_{a}"]["usd"] for k in ("vcpu_hour", "gb_hour") for a in ("x86", "arm")},
                "rules": far["rules"],
                "sources": checked(*(far[f"{k}_{a}"] for k in ("vcpu_hour", "gb_hour") for a in ("x86", "arm"))),
            },
            "ec2_hour": {k: v for k, v in aws["ec2_on_demand_linux"].items() if isinstance(v, float)},
            "ec2_sources": checked(aws["ec2_on_demand_linux"]),
            "apigw_rest_per_million": tiers(aws["apigw_rest"]["per_million"], "upto_m"),
            "apigw_http_per_million": tiers(aws["apigw_http"]["per_million"], "upto_m"),
            "apigw_sources": checked(aws["apigw_rest"], aws["apigw_http"]),
        },
        "gcp": {"cloud_run": {**cloud_run, "sources": checked(*(run[k] for k in run if k != "rules")), "rules": run["rules"]}},
        "azure": {
            "functions_consumption": {"gb_s": fn["gb_s"], "per_million": fn["per_million"], "rules": fn["rules"], "sources": checked(fn)},
            "container_apps": {
                **{k: apps[k] for k in ("vcpu_s_active", "gib_s_active", "vcpu_s_idle", "gib_s_idle")},
                "per_million": apps["per_million_requests"],
                "sources": checked(apps),
            },
        },
        "sources": {k: v for k, v in book["sources"].items() if k in ("remotion", "infracost", "aws_init_blog", "aws_fargate_page",
                                                                    "gcr_page", "aca_blog", "memory")},
    }
    json.dump(out, sys.stdout, indent="\t", ensure_ascii=False)
    print()


main()
