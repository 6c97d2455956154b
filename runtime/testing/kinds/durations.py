"""Ages as kubectl shows them: ``5s``, ``3m10s``, ``2d4h``."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "<unknown>"
INVALID = "<invalid>"


def age(timestamp: str | None, now: datetime) -> str:
    """How long ago that was; ``<unknown>`` for no time at all."""
    moment = parse_time(timestamp)
    return UNKNOWN if moment is None else short(int((now - moment).total_seconds()))


def parse_time(timestamp: str | None) -> datetime | None:
    """A time of the API, None if there is none or it is malformed."""
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def short(seconds: int) -> str:
    """A duration with the two units that matter at its length."""
    if seconds < 0:
        return "0s" if seconds >= -1 else INVALID
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"
