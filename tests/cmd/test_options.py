"""Flags and the environment variables that stand for them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cmd.options import ENV_PREFIX, build_parser, parse
from cmd.orleans_flags import orleans_settings
from controllers.orleans import Settings


def test_defaults_are_those_of_other_controllers() -> None:
    options = parse([], {})
    assert options.metrics_bind_address == ":8080"
    assert options.health_probe_bind_address == ":8081"
    assert (options.lease_duration, options.renew_deadline, options.retry_period) == (15.0, 10.0, 2.0)
    assert options.namespace == ()
    assert not options.leader_elect


def test_standalone_is_seen_from_this_machine_only_unless_asked() -> None:
    options = parse(["--standalone"], {})
    assert options.metrics_bind_address == "127.0.0.1:0"  # with the status page
    assert options.health_probe_bind_address == "0"
    assert parse(["--demo"], {}).metrics_bind_address == "0"
    assert parse(["--demo", "--metrics-bind-address", ":9090"], {}).metrics_bind_address == ":9090"


def test_every_flag_has_its_variable() -> None:
    values = {
        "KUBECONFIG": "/k",
        "CONTEXT": "c",
        "NAMESPACE": "a, b",
        "WORKERS": "7",
        "AGENT_IMAGE": "me/agent:1",
        "CLUSTER_DOMAIN": "example.org",
        "LEADER_ELECT": "true",
        "LEADER_ELECTION_ID": "id",
        "LEADER_ELECTION_NAMESPACE": "ns",
        "LEASE_DURATION": "1m",
        "RENEW_DEADLINE": "40s",
        "RETRY_PERIOD": "500ms",
        "METRICS_BIND_ADDRESS": ":1",
        "METRICS_SECURE": "true",
        "METRICS_CERT_DIR": "/certs",
        "METRICS_AUTHORIZATION": "no",
        "STATUS_PAGE": "no",
        "HEALTH_PROBE_BIND_ADDRESS": ":2",
        "MAX_CACHE_AGE": "5m",
        "GRACEFUL_SHUTDOWN_TIMEOUT": "1m30s",
        "LOG_LEVEL": "debug",
        "LOGGER_LEVEL": "runtime.client=debug, urllib3=info",
        "LOG_FORMAT": "console",
        "STANDALONE": "yes",
        "DEMO": "0",
        "STANDALONE_DIR": "/d",
        "STANDALONE_PORT": "8001",
        "SAMPLE": __file__,
        "NO_SAMPLE": "on",
        "KRUISE": "false",
        "ORLEANS": "yes",
        "ORLEANS_DRY_RUN": "true",
        "ORLEANS_EVICT_GONE": "no",
        "ORLEANS_EVICT_SILENT": "off",
        "ORLEANS_VOTES": "3",
        "ORLEANS_SILENT_AFTER": "20m",
        "ORLEANS_DEFUNCT_AFTER": "48h",
        "ORLEANS_MAX_DEFUNCT": "7",
    }
    flags = {a.dest.upper() for a in build_parser()._actions if not isinstance(a, argparse._HelpAction)}
    assert flags == values.keys(), "a new flag needs its line here"
    options = parse([], {ENV_PREFIX + name: text for name, text in values.items()})
    assert options.namespace == ("a", "b")
    assert options.workers == 7
    assert options.leader_elect is True
    assert (options.lease_duration, options.renew_deadline, options.retry_period) == (60.0, 40.0, 0.5)
    assert options.graceful_shutdown_timeout == 90.0
    assert options.standalone is True
    assert options.demo is False
    assert options.standalone_dir == Path("/d")
    assert options.standalone_port == 8001
    assert options.no_sample is True
    assert (options.metrics_secure, options.metrics_cert_dir) == (True, Path("/certs"))
    assert options.metrics_authorization is False
    assert options.status_page is False
    assert options.max_cache_age == 300
    assert options.logger_level == {"runtime.client": "debug", "urllib3": "info"}
    settings = orleans_settings(options)
    assert (settings.dry_run, settings.evict_gone, settings.evict_silent) == (True, False, False)
    assert (settings.protocol.num_votes, settings.silent_alone) == (3, 1200.0)
    assert (settings.defunct_after, settings.max_defunct) == (48 * 3600.0, 7)


def test_orleans_tables_are_looked_after_as_orleans_does() -> None:
    options = parse([], {})
    settings = orleans_settings(options)
    assert options.orleans
    assert settings == Settings()
    assert orleans_settings(parse(["--orleans-defunct-after", "0"], {})).defunct_after is None


def test_a_silence_of_no_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--orleans-silent-after", "0"], {})
    assert "--orleans-silent-after must be above 0" in capsys.readouterr().err


def test_the_flag_wins_over_the_variable() -> None:
    environ = {ENV_PREFIX + "WORKERS": "7", ENV_PREFIX + "NAMESPACE": "a", ENV_PREFIX + "LEADER_ELECT": "1"}
    options = parse(["--workers", "3", "--no-leader-elect", "--namespace", "b", "--namespace", "c"], environ)
    assert options.workers == 3
    assert not options.leader_elect
    assert options.namespace == ("b", "c")


@pytest.mark.parametrize(
    ("argv", "environ", "told"),
    [
        (["--workers", "0"], {}, "--workers: '0' is not a whole number of at least 1"),
        (["--orleans-defunct-after", "99999999h"], {}, "'99999999h' is more than a hundred years"),
        (["--lease-duration", "soon"], {}, "'soon' is not a time such as 15, 15s or 1m30s"),
        (["--standalone-port", "70000"], {}, "'70000' is not a port"),
        (["--log-level", "loud"], {}, "'loud'"),
        (["--logger-level", "runtime"], {}, "--logger-level: 'runtime' is not NAME=LEVEL with a level of debug, info"),
        ([], {"LOGGER_LEVEL": "a=debug,b=loud"}, "--logger-level: 'b=loud' is not NAME=LEVEL"),
        (["--metrics-cert-dir", "/x"], {}, "need --metrics-secure"),
        (["--metrics-authorization"], {}, "need --metrics-secure"),
        (["--status-page", "--metrics-bind-address=0"], {}, "--status-page needs --metrics-bind-address"),
        (["--metrics-secure", "--metrics-cert-dir="], {}, "--metrics-cert-dir: '' is no path"),
        ([], {"METRICS_SECURE": "1", "METRICS_CERT_DIR": ""}, "XLINE_OPERATOR_METRICS_CERT_DIR: '' is no path"),
        ([], {"STANDALONE_DIR": ""}, "XLINE_OPERATOR_STANDALONE_DIR: '' is no path"),
        (["--renew-deadline", "20"], {}, "--lease-duration must be above --renew-deadline"),
        (["--sample", "/no/such/file"], {}, "no such file: /no/such/file"),
        (["--name", "x"], {}, "--name"),
        ([], {"WORKERS": "many"}, "XLINE_OPERATOR_WORKERS: 'many' is not a whole number"),
        ([], {"LEADER_ELECT": "perhaps"}, "XLINE_OPERATOR_LEADER_ELECT: 'perhaps' is neither true nor false"),
        ([], {"LOG_FORMAT": "xml"}, "XLINE_OPERATOR_LOG_FORMAT: 'xml' is not one of json, console"),
        ([], {"WORKER": "3"}, "XLINE_OPERATOR_WORKER names no flag"),
    ],
)
def test_wrong_values_are_named(
    argv: list[str], environ: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(argv, {ENV_PREFIX + name: text for name, text in environ.items()})
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for action in build_parser()._actions:
        assert action.option_strings[-1] in text


def test_the_variables_of_a_service_of_that_name_are_no_flags() -> None:
    """Kubernetes sets them in every Pod of the namespace (enableServiceLinks is on by default)."""
    links = {
        "XLINE_OPERATOR_SERVICE_HOST": "10.96.0.7",
        "XLINE_OPERATOR_SERVICE_PORT": "8080",
        "XLINE_OPERATOR_SERVICE_PORT_METRICS": "8080",
        "XLINE_OPERATOR_PORT": "tcp://10.96.0.7:8080",
        "XLINE_OPERATOR_PORT_8080_TCP": "tcp://10.96.0.7:8080",
        "XLINE_OPERATOR_PORT_8080_TCP_PROTO": "tcp",
        "XLINE_OPERATOR_PORT_8080_TCP_PORT": "8080",
        "XLINE_OPERATOR_PORT_8080_TCP_ADDR": "10.96.0.7",
        "XLINE_OPERATOR_METRICS_SERVICE_HOST": "10.96.0.8",
        "XLINE_OPERATOR_METRICS_PORT_8080_TCP_ADDR": "10.96.0.8",
    }
    assert parse([], links) == parse([], {})
