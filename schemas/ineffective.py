"""Settings that have no effect beside another one: somebody set them, and expects one."""

from collections.abc import Callable

from schemas.settings import PREFIX, Settings

# By the beginning of their names: when they have no effect, and because of what.
_RULES: tuple[tuple[str, Callable[[Settings], bool], str], ...] = (
    ("kafka_", lambda s: s.log != "kafka", "LOG is not kafka"),
    (
        "kafka_sasl_",
        lambda s: not s.kafka_security_protocol.startswith("SASL"),
        "KAFKA_SECURITY_PROTOCOL has no SASL",
    ),
    (
        "kafka_ssl_",
        lambda s: not s.kafka_security_protocol.endswith("SSL"),
        "KAFKA_SECURITY_PROTOCOL has no SSL",
    ),
    ("lake_catalog_password", lambda s: s.lake_catalog == "sqlite", "LAKE_CATALOG is sqlite"),
    ("lake_s3_", lambda s: not s.lake_files.startswith("s3://"), "LAKE_FILES is no s3:// address"),
    ("mac_key_previous", lambda s: s.mac_key is None, "MAC_KEY is not set"),
)


def ineffective(settings: Settings) -> list[str]:
    """Return a sentence for each setting that is set but has no effect, with what to do."""
    found = {
        name: because
        for beginning, applies, because in reversed(_RULES)
        for name in sorted(settings.model_fields_set)
        if name.startswith(beginning) and applies(settings)
    }
    return [
        f"{PREFIX}{name.upper()} has no effect, because {PREFIX}{because}: change that, or unset it"
        for name, because in found.items()
    ]
