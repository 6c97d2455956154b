"""What docs/ says of rights is what deploy/ grants."""

from __future__ import annotations

import re

from cmd.permissions import permissions
from tests.support.operators import ROOT

ORLEANS = "orleans.dot.net"


def documented() -> set[tuple[str, str]]:
    """Resource and verb, of the table in docs/xlinecluster.md."""
    text = (ROOT / "docs" / "xlinecluster.md").read_text()
    _, _, section = text.partition("## What the operator may do")
    rows = re.findall(r"^\| ([^|]+) \| ([a-z, ]+) \|[^|]*\|", section.partition("\n## ")[0], re.MULTILINE)
    return {
        (what, verb) for resources, verbs in rows[1:] for what in resources.split(", ") for verb in verbs.split(", ")
    }


def test_the_table_of_rights_is_what_is_granted() -> None:
    granted = {(each.what, each.verb) for each in permissions() if each.group != ORLEANS and each.scope != "own"}
    assert documented() == granted
    own = {str(each) for each in permissions() if each.scope == "own"}
    assert own == {"watch leases.coordination.k8s.io xline-operator"}  # in the words beside the row of Leases


def test_the_pods_policy_of_the_agents_port_is_not_needed() -> None:
    """The operator asks members, never agents."""
    text = (ROOT / "deploy" / "base" / "network.yaml").read_text()
    assert re.findall(r"port: (\d+)", text) == ["443", "6443", "53", "53", "2379"]
