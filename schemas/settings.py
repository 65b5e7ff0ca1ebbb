"""Every setting, its default and its meaning; read from the environment once, by the command, and passed down.

Names are `PLAYHEAD_` and the field's name in capitals. An unknown `PLAYHEAD_*` name is refused with the nearest
known one. A secret may also come from the file that `<NAME>_FILE` names, but not from both. The file of a previous
key may be empty: there is none then.
"""

import difflib
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from schemas.faults import NotReady
from schemas.modes import UMASK, UMASK_WITH_READERS
from schemas.origins import is_origin
from schemas.vocabulary import DIMENSION_KEYS

PREFIX = "PLAYHEAD_"
OWN_SECRETS = ("api_keys", "mac_key", "pseudonym_key")  # `playhead up` generates these
SECRETS = (
    *OWN_SECRETS,
    "mac_key_previous",
    "kafka_sasl_password",
    "lake_catalog_password",
    "lake_s3_secret_key",
    "notebooks_token",
)
PREVIOUS = ("mac_key_previous",)  # there is one only while keys are rotated
OF_LOG = frozenset(("kafka_sasl_password",))
OF_LAKE = frozenset(("lake_catalog_password", "lake_s3_secret_key"))
# The secrets that each verb needs; as a child process it is given no others.
SECRETS_OF_VERB = {
    "ingest": OF_LOG | {"api_keys", "mac_key", "mac_key_previous", "pseudonym_key"},
    "worker": OF_LOG | OF_LAKE,
    "upkeep": OF_LAKE,
    "backup": OF_LAKE,
    "simulate": frozenset(("api_keys",)),
    "notebooks": OF_LAKE | {"notebooks_token"},
}
KEY_CHARACTERS_MIN = 32
# The first port of metrics of each verb; by default a process takes the first free one of so many.
METRICS_PORTS = {"ingest": 9410, "worker": 9420, "upkeep": 9430}
METRICS_PORTS_EACH = 10
OFF = "off"
# The password in a PostgreSQL connection string, and the space before it.
PASSWORD = re.compile(r"(?:^|(?<=:)|\s+)password\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")


def listed(text: str) -> list[str]:
    """Return the parts of a setting that is a list, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


class Settings(BaseModel):
    """All settings of all processes. Durations in seconds (`_s`), sizes in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data_dir: Path = Field(Path("data"), description="Folder of the embedded log, the lake and generated secrets")

    http_host: str = Field("127.0.0.1", description="Address the ingest listens on")
    http_port: int = Field(8080, ge=0, le=65535, description="Port the ingest listens on")
    http_port_shared: bool = Field(
        False, description="Let several ingests of a machine share the port, as `playhead ingest --workers` does"
    )
    http_body_bytes_max: int = Field(65_536, ge=1024, description="Largest body of one event, unpacked")
    http_downloaded_bytes_max: int = Field(4_194_304, ge=1024, description="Largest body of an offline session")
    http_bodies_bytes_max: int = Field(
        134_217_728, ge=1_048_576, description="Total bytes of request bodies in flight; beyond this, 5xx"
    )
    http_body_timeout_s: float = Field(
        10.0, gt=0, description="A request that is not complete after this is abandoned"
    )
    http_drain_s: float = Field(
        0.0,
        ge=0,
        description="How long a stopping ingest still serves, while /health/ready fails: load balancers notice",
    )
    http_shutdown_timeout_s: float = Field(
        8.0, gt=0, description="How long a stopping ingest waits for requests in flight"
    )

    http_trusted_proxies: str = Field(
        "", description="Addresses and networks of the proxies whose sender header is trusted, separated by commas"
    )
    http_forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for", description="Header in which trusted proxies name the sender"
    )
    http_validate: bool = Field(
        False, description="POST /validate checks events and stores nothing; `playhead up` switches it on"
    )
    http_origins: str = Field(
        "",
        description="Origins of the pages that may read replies, separated by commas: https://tv.example,...; "
        "empty: any page's",
    )
    http_country_header: str = Field(
        "", description="Header in which trusted proxies name the sender's country (ISO 3166-1): cf-ipcountry, ..."
    )
    http_region_header: str = Field(
        "",
        description="Header in which trusted proxies name the sender's region (ISO 3166-2): cf-region-code, ...",
    )
    http_places_database: Path | None = Field(
        None, description="MMDB file with countries and regions, for senders whose country no proxy names"
    )
    rate_session_per_s: float = Field(
        50.0, ge=0, description="Requests per second of one media session, per ingest process; 0: no limit"
    )
    rate_key_per_s: float = Field(
        5_000.0, ge=0, description="Requests per second with one API key, per ingest process; 0: no limit"
    )
    rate_network_per_s: float = Field(
        2_000.0,
        ge=0,
        description="Events per second of one network, per ingest process, with trusted proxies; 0: no limit",
    )

    strict: bool = Field(
        False, description="Refuse what is otherwise flagged: odd playheads, missing and mistyped keys"
    )
    api_keys: SecretStr | None = Field(None, description="API keys without names, separated by commas")
    named_keys: Path | None = Field(
        None,
        description="File of named API keys, which `playhead keys` changes; empty: `secrets/named_keys.json` in "
        "the data folder",
    )
    media_needs_key: bool = Field(False, description="Refuse media events without an API key too")
    mac_key: SecretStr | None = Field(None, description="Key that signs session ids and tokens")
    mac_key_previous: SecretStr | None = Field(
        None, description="Previous signing key; its ids are still accepted"
    )
    pseudonym_key: SecretStr | None = Field(None, description="Key of the pseudonyms that replace identities")
    link_devices: bool = Field(
        False, description="Keep device identities, as pseudonyms, so that sessions can be linked"
    )
    identity_keys: str = Field(
        "", description="More keys whose values are identities, separated by commas; `device:key` for devices"
    )
    metadata_keys: str = Field(
        "", description="The only custom metadata keys that are stored, separated by commas; empty: all"
    )
    tracking_source: str = Field("jay.api.playout.1.0.0", description="`source` of new tracking sessions")
    tracking_cookie_same_site: Literal["Lax", "Strict", "None"] = Field(
        "Lax", description="SameSite of the tracking cookie; None for players embedded in other sites"
    )
    rejected_per_s: float = Field(100.0, ge=0, description="Refused bodies kept per second, per ingest process")

    log: Literal["embedded", "kafka"] = Field("embedded", description="Event log: embedded (SQLite) or kafka")
    log_partitions: int = Field(1, ge=1, le=1000, description="Partitions of a new log")
    log_append_timeout_s: float = Field(
        4.0, gt=0, description="An append that is not durable after this is answered 5xx"
    )
    log_queue_max: int = Field(20_000, ge=1, description="Appends that may wait at once; beyond this, 5xx")
    log_queue_bytes_max: int = Field(67_108_864, ge=1024, description="Bytes of appends that may wait at once")
    log_record_bytes_max: int = Field(4_194_304, ge=1024, description="Largest record the log takes")
    log_retention_s: float = Field(604_800.0, gt=0, description="Age after which the log may drop records")
    log_drop_without_backup: bool = Field(
        False, description="Let retention drop records that are in the lake but in no backup yet"
    )

    kafka_bootstrap_servers: str = Field("", description="host:port,... of some Kafka brokers")
    kafka_topic: str = Field("playhead.events", description="Topic of all events; `playhead topics` makes it")
    kafka_group: str = Field("playhead-worker", description="Consumer group of the workers")
    kafka_replication: int = Field(0, ge=0, description="Replicas of a new topic; 0: one per broker, at most 3")
    kafka_min_insync_replicas: int = Field(
        0, ge=0, description="Replicas an append must reach; 0: one fewer than there are, at least 1"
    )
    kafka_segment_ms: int = Field(
        3_600_000, ge=60_000, description="Time span of a log segment; retention drops whole segments"
    )
    kafka_session_timeout_s: float = Field(
        10.0, gt=0, description="A worker not heard from for this long loses its partitions"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Protocol of the Kafka brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="Authentication mechanism, with SASL_*"
    )
    kafka_sasl_username: str = Field("", description="User for PLAIN and SCRAM")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password for PLAIN and SCRAM")
    kafka_oauth_token_command: str = Field("", description="Command that prints a token, for OAUTHBEARER")
    kafka_ssl_cafile: str = Field("", description="CA certificate file for the brokers; empty: the system's CAs")
    kafka_ssl_certfile: str = Field("", description="Client certificate file, if brokers require one")
    kafka_ssl_keyfile: str = Field("", description="Private key file of the client certificate")

    lake_catalog: str = Field("sqlite", description="sqlite (in the data folder) or postgres:<connection string>")
    lake_catalog_password: SecretStr | None = Field(
        None, description="Password of PostgreSQL; safer here than in the connection string"
    )
    lake_files: str = Field("", description="Folder or s3:// address of the lake's files; empty: the data folder")
    lake_s3_endpoint: str = Field("", description="host:port of an S3-compatible server; empty: Amazon's")
    lake_s3_region: str = Field("us-east-1", description="Region of the bucket")
    lake_s3_tls: bool = Field(True, description="Use TLS to the S3 server")
    lake_s3_access_key: str = Field("", description="S3 access key id")
    lake_s3_secret_key: SecretStr | None = Field(None, description="S3 secret access key")
    lake_backups: str = Field(
        "", description="Folder or s3:// address of backups; empty: the folder `backups` in the data folder"
    )
    lake_backup_interval_s: float = Field(
        86_400.0, ge=0, description="`playhead up` backs up the lake this often; 0: never"
    )
    lake_backups_kept: int = Field(2, ge=1, description="Number of backups to keep")
    lake_snapshots_kept_s: float = Field(
        3600.0, gt=0, description="Snapshots younger than this do not expire; set it the same in all processes"
    )
    lake_daily_snapshots_kept_days: int = Field(
        30, ge=0, description="The first snapshot of each day is kept for this many days"
    )
    lake_files_kept_s: float = Field(
        3600.0,
        gt=0,
        description="An unreferenced file is deleted after this; until then a reader may still use it",
    )
    lake_orphan_age_s: float = Field(
        86_400.0, gt=0, description="Age at which a file that the catalogue does not list counts as an orphan"
    )
    lake_orphans: Path | None = Field(
        None, description="Folder that keeps orphans; empty: `lake/orphans` in the data folder"
    )
    lake_orphans_kept_s: float = Field(
        604_800.0, gt=0, description="Orphans are deleted after this; on S3, the time between the two listings"
    )
    lake_orphans_interval_s: float = Field(3600.0, gt=0, description="Interval between searches for orphans")
    lake_group_read: bool = Field(False, description="Let the group of lake and backups read them")
    lake_memory: str = Field("1GB", description="Memory limit of DuckDB in the worker")

    worker_commit_interval_s: float = Field(1.0, gt=0, description="Longest interval between two commits")
    worker_batch_records: int = Field(50_000, ge=1, description="Most records in one transaction")
    worker_transaction_timeout_s: float = Field(
        20.0,
        gt=0,
        lt=1800,
        validate_default=True,
        description="PostgreSQL ends a worker's transaction that is idle for this long",
    )
    worker_stop_timeout_s: float = Field(
        20.0, gt=0, description="A worker that is asked to stop exits within this"
    )
    worker_bad_max: int = Field(
        500, ge=0, description="A partition with this many bad records among twice as many is paused; 0: never"
    )
    worker_open_sessions_interval_s: float = Field(
        5.0, gt=0, description="Interval between writes of open sessions"
    )
    worker_upkeep_interval_s: float = Field(60.0, gt=0, description="Interval between rounds of upkeep")
    worker_alive_file: Path | None = Field(None, description="File that the worker touches while it works")
    worker_hung_s: float = Field(
        300.0, ge=0, description="A worker that makes no step for this long ends, to be started again; 0: never"
    )
    session_idle_s: float = Field(600.0, gt=0, description="A session without events closes after this")
    session_stuck_s: float = Field(
        1800.0, gt=0, description="A session whose playhead does not move closes after this"
    )
    session_length_s: float = Field(86_400.0, gt=0, description="Longest duration of a session")
    dimension_columns: str = Field(
        "cdn=cdn",
        description="Keys of custom metadata that fill columns of sessions: column=key, separated by commas",
    )
    dimension_keys: str = Field(
        "",
        description="The only custom metadata keys in sessions.dims, separated by commas; empty: any",
    )

    notebooks_host: str = Field("127.0.0.1", description="Address that the notebooks' pages are served on")
    notebooks_port: int = Field(8090, ge=0, le=65535, description="Port that the notebooks' pages are served on")
    notebooks_token: SecretStr | None = Field(
        None, description="Token that the pages ask for; default: none on this machine, else a new one each time"
    )
    notebooks_ingest_url: str = Field(
        "", description="Address of an ingest that browsers reach, for the page /demo; `playhead up` sets it"
    )
    up_notebooks: bool = Field(True, description="Whether `playhead up` serves the notebooks' pages")

    metrics_host: str = Field(
        "127.0.0.1", description="Address that metrics and health are served on; off: none are served"
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of metrics and health; default: the first free one from 9410 (ingest), 9420 (worker), "
        "9430 (upkeep); 0: any",
    )
    ingest_urls: str = Field(
        "",
        description="Metrics addresses of the ingests that `playhead status` asks, http://host:port separated by "
        "commas; a name may have several addresses; empty: the one of this machine",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged"
    )

    @property
    def local_backups(self) -> Path | None:
        """The folder of the lake's backups; None if they are on S3."""
        if "://" in self.lake_backups:
            return None
        return Path(self.lake_backups or self.data_dir / "backups").resolve()

    @property
    def file_of_named_keys(self) -> Path:
        """The file of named API keys."""
        return self.named_keys or self.data_dir / "secrets" / "named_keys.json"

    @property
    def orphans(self) -> Path:
        """The folder that keeps the lake's orphans."""
        return (self.lake_orphans or self.data_dir / "lake" / "orphans").resolve()

    @field_validator("http_trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in listed(text):
            ip_network(part, strict=False)
        return text

    @field_validator("http_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        for part in listed(text):
            if not is_origin(part.encode()):
                raise ValueError(f"Expected origins as browsers write them, https://tv.example, got {part}")
        return text

    @field_validator("notebooks_ingest_url")
    @classmethod
    def _origin_or_none(cls, text: str) -> str:
        if text and not is_origin(text.encode()):
            raise ValueError("Expected scheme, host and port without a path, such as http://127.0.0.1:8080")
        return text

    @field_validator("http_country_header", "http_region_header")
    @classmethod
    def _header_of_a_proxy(cls, name: str, info: ValidationInfo) -> str:
        if name and not info.data.get("http_trusted_proxies"):
            raise ValueError(f"only trusted proxies are believed, and {PREFIX}HTTP_TRUSTED_PROXIES names none")
        if name and info.field_name == "http_region_header" and not info.data.get("http_country_header"):
            raise ValueError(f"a region has a country, and {PREFIX}HTTP_COUNTRY_HEADER names no header")
        return name.lower()

    def trusted_proxies(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks of the trusted proxies."""
        return [ip_network(part, strict=False) for part in listed(self.http_trusted_proxies)]

    def origins(self) -> list[str]:
        """Return the origins of the pages that may read replies; none: any page may."""
        return listed(self.http_origins)

    def ingests(self) -> list[str]:
        """Return the metrics addresses of the ingests that `playhead status` asks."""
        return listed(self.ingest_urls) or [f"http://127.0.0.1:{self.metrics_port or METRICS_PORTS['ingest']}"]

    @property
    def serves_metrics(self) -> bool:
        """Whether each process serves its metrics and health."""
        return self.metrics_host != OFF

    def metrics_ports(self, verb: str) -> list[int]:
        """Return the ports of which a process of this verb takes the first that is free."""
        if self.metrics_port is not None:
            return [self.metrics_port]
        first = METRICS_PORTS[verb]
        return [*range(first, first + METRICS_PORTS_EACH), 0]

    @property
    def worker_does_upkeep(self) -> bool:
        """Whether the worker maintains the lake; with PostgreSQL a process of its own does."""
        return self.lake_catalog == "sqlite"

    @property
    def umask(self) -> int:
        """The umask of our processes; what only its owner may read also gets an explicit mode."""
        return UMASK_WITH_READERS if self.lake_group_read else UMASK

    @field_validator("api_keys")
    @classmethod
    def _some_key(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None and not listed(keys.get_secret_value()):
            raise ValueError("it contains no key; separate several with commas")
        return keys

    @field_validator("dimension_columns")
    @classmethod
    def _columns_that_exist(cls, text: str) -> str:
        for entry in listed(text):
            column, _, key = entry.partition("=")
            if column.strip() not in DIMENSION_KEYS or not key.strip():
                raise ValueError(f"{entry!r} is not column=key; the columns are {', '.join(DIMENSION_KEYS)}")
        return text

    @field_validator("worker_transaction_timeout_s")
    @classmethod
    def _shorter_than_what_is_kept(cls, timeout_s: float, info: ValidationInfo) -> float:
        # A transaction that outlives its snapshot passes the fence; one that outlives its files commits lost ones.
        for name in ("lake_snapshots_kept_s", "lake_orphan_age_s"):
            if (kept_s := info.data.get(name)) is not None and kept_s < 2 * timeout_s:
                raise ValueError(f"{PREFIX}{name.upper()} must be at least twice as long, got {kept_s}")
        return timeout_s

    @field_validator("mac_key", "mac_key_previous", "pseudonym_key", "notebooks_token")
    @classmethod
    def _not_blank(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not key.get_secret_value().strip():
            raise ValueError("it is blank")
        return key

    def keys_of_api(self) -> list[str]:
        """Return the accepted API keys, in their order. Raises NotReady if none is set."""
        return listed(self._secret("api_keys"))

    def keys_of_mac(self) -> tuple[bytes, ...]:
        """Return the signing key, then the previous one if there is one. Raises NotReady if none is set."""
        keys = [self._secret("mac_key").encode()]
        if self.mac_key_previous is not None:
            keys.append(self.mac_key_previous.get_secret_value().encode())
        return tuple(keys)

    def key_of_pseudonyms(self) -> bytes:
        """Return the key of pseudonyms. Raises NotReady if none is set."""
        return self._secret("pseudonym_key").encode()

    def short_keys(self) -> list[str]:
        """Return the variables whose keys are shorter than keys should be."""
        return [
            PREFIX + name.upper()
            for name in ("mac_key", "mac_key_previous", "pseudonym_key")
            if (key := getattr(self, name)) is not None and len(key.get_secret_value()) < KEY_CHARACTERS_MIN
        ]

    def _secret(self, name: str) -> str:
        secret: SecretStr | None = getattr(self, name)
        if secret is None:
            variable = PREFIX + name.upper()
            raise NotReady(
                f"{variable} is not set. Make one with "
                f"`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` and set {variable}, "
                f"or put it into a file and set {variable}_FILE; `playhead up` makes its own."
            )
        return secret.get_secret_value()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment. Raises NotReady with one line for each mistake."""
    values: dict[str, Any] = {}
    mistakes = []
    for name, text in environment.items():
        if not name.startswith(PREFIX) or not text:
            continue
        field = name.removeprefix(PREFIX).lower()
        secret = field.removesuffix("_file")
        if field.endswith("_file") and secret in SECRETS:
            if environment.get(name.removesuffix("_FILE")):
                mistakes.append(f"{name.removesuffix('_FILE')} and {name} are both set: keep one")
                continue
            try:
                if text := _read_secret(Path(text), may_be_empty=secret in PREVIOUS):
                    values[secret] = text
            except NotReady as fault:
                mistakes.append(f"{name}: {fault}")
        elif field in Settings.model_fields:
            values[field] = text
        else:
            known = [PREFIX + known.upper() for known in Settings.model_fields]
            known += [f"{PREFIX}{secret.upper()}_FILE" for secret in SECRETS]
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            mistakes.append(f"{name} is not a setting; the nearest is {nearest[0]} (see `playhead settings`)")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for problem in error.errors():
            field = str(problem["loc"][0])
            got = "" if field in SECRETS else f", got {problem['input']!r}"
            mistakes.append(f"{PREFIX}{field.upper()}: {problem['msg']}{got}")
    if mistakes:
        raise NotReady("\n".join(mistakes))
    return settings


def _read_secret(path: Path, *, may_be_empty: bool = False) -> str:
    """Return the contents of a secret's file. Raises NotReady if it is empty and must not, or cannot be read."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotReady(f"cannot read {path}: {getattr(error, 'strerror', 'not UTF-8')}") from None
    if not text and not may_be_empty:
        raise NotReady(f"{path} is empty")
    return text


def environment_of(settings: Settings, *, verb: str | None = None) -> dict[str, str]:
    """Return the environment variables that give a child process these settings.

    With a `verb`, only the secrets that this verb needs; raises KeyError for a verb that is never a child process.
    """
    wanted = frozenset(SECRETS) if verb is None else SECRETS_OF_VERB[verb]
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is None or (name in SECRETS and name not in wanted):
            continue
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if name == "lake_catalog" and not wanted >= OF_LAKE:
            text = PASSWORD.sub("", text)
        variables[PREFIX + name.upper()] = text
    return variables


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without its settings, for a process that gets none or others."""
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX)}


class Description(NamedTuple):
    """One setting as it is shown to a person: secrets are hidden."""

    variable: str
    value: str
    default: str
    meaning: str


def describe(settings: Settings) -> list[Description]:
    """Return every setting with its value, default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "" if value is None else "(set, hidden)" if isinstance(value, SecretStr) else masked(str(value))
        default = "" if field.default is None else str(field.default)
        rows.append(Description(PREFIX + name.upper(), shown, default, field.description or ""))
    return rows


def masked(text: str) -> str:
    """Return a text without the passwords of connection strings, in both forms that PostgreSQL knows."""
    text = re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"]+)", r"\1(hidden)", text)
    return re.sub(r"(://[^:/@\s]*:)[^@\s]+@", r"\1(hidden)@", text)
