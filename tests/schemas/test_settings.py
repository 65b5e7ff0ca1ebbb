"""Settings: read from an environment once, every mistake named, secrets never shown."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.own_secrets import with_kept_secrets, with_own_secrets
from schemas.faults import NotReady
from schemas.settings import PREFIX, SECRETS, SECRETS_OF_VERB, Settings, describe, environment_of, read_settings

PLANTED = "s3cr3t-that-must-not-be-shown"


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be set; an empty value is as good as none."""
    assert read_settings({}) == read_settings({"PLAYHEAD_HTTP_PORT": "", "HOME": "/", "PATH": ""})
    assert read_settings({}).http_port == 8080


@pytest.mark.parametrize("variable", ["PLAYHEAD_HTTP_PORT", "playhead_http_port", "HTTP_PORT", "http_port"])
def test_only_the_environment_that_is_passed_is_read(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the process's own, nor a file `.env` where it runs."""
    monkeypatch.setenv(variable, "9999")
    assert read_settings({}).http_port == Settings().http_port == 8080
    monkeypatch.setenv(variable, "no port")
    assert read_settings({"PLAYHEAD_STRICT": "on"}).http_port == 8080


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PLAYHEAD_HTTP_PROT", "PLAYHEAD_HTTP_PORT"),
        ("PLAYHEAD_DATADIR", "PLAYHEAD_DATA_DIR"),
        ("PLAYHEAD_MACKEY_FILE", "PLAYHEAD_MAC_KEY_FILE"),
        ("PLAYHEAD_HTTP_PORT_FILE", "PLAYHEAD_HTTP_PORT"),
        ("PLAYHEAD_", "PLAYHEAD_LOG"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name: str, nearest: str) -> None:
    """A misspelt setting is never ignored."""
    with pytest.raises(NotReady) as refused:
        read_settings({name: "1"})
    assert f"{name} is not a setting; the nearest is {nearest} " in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "http"),
        ("HTTP_PORT", "70000"),
        ("HTTP_PORT", "-1"),
        ("HTTP_BODY_TIMEOUT_S", "0"),
        ("HTTP_BODY_TIMEOUT_S", "inf"),
        ("HTTP_BODY_TIMEOUT_S", "nan"),
        ("LOG", "rabbit"),
        ("LOG_PARTITIONS", "0"),
        ("LOG_PARTITIONS", "1.5"),
        ("STRICT", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("API_KEYS", " , "),
        ("MAC_KEY", " "),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    """One line, with the setting's name."""
    with pytest.raises(NotReady) as refused:
        read_settings({PREFIX + name: value})
    assert str(refused.value).startswith(f"{PREFIX}{name}: ")
    assert "\n" not in str(refused.value)


def test_every_mistake_is_named_at_once() -> None:
    """Nobody has to start three times."""
    with pytest.raises(NotReady) as refused:
        read_settings({"PLAYHEAD_HTTP_PORT": "x", "PLAYHEAD_LOG": "y", "PLAYHEAD_STRICT": "z"})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("texts", "value"), [(("1", "true", "on", "yes", "True"), True), (("0", "false", "off", "no", "False"), False)]
)
def test_the_text_false_is_false(texts: tuple[str, ...], value: bool) -> None:
    """Booleans are what they say."""
    assert {read_settings({"PLAYHEAD_STRICT": text}).strict for text in texts} == {value}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """Without the line end that an editor adds."""
    (tmp_path / "secret").write_text(f"{PLANTED}\n")
    settings = read_settings({f"{PREFIX}{name.upper()}_FILE": str(tmp_path / "secret")})
    assert getattr(settings, name).get_secret_value() == PLANTED


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """Missing, empty, blank, not text: never an empty key."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotReady, match=r"PLAYHEAD_MAC_KEY_FILE: .*secret"):
        read_settings({"PLAYHEAD_MAC_KEY_FILE": str(path)})


def test_a_secret_comes_from_one_place(tmp_path: Path) -> None:
    """The variable and its file are both set: nobody can know which one counts."""
    (tmp_path / "secret").write_text(PLANTED)
    both = {"PLAYHEAD_MAC_KEY": "another", "PLAYHEAD_MAC_KEY_FILE": str(tmp_path / "secret")}
    with pytest.raises(NotReady) as refused:
        read_settings(both)
    assert str(refused.value) == "PLAYHEAD_MAC_KEY and PLAYHEAD_MAC_KEY_FILE are both set: keep one"


def test_the_file_of_a_previous_key_may_be_empty(tmp_path: Path) -> None:
    """A container gets the same files before, during and after a rotation."""
    (tmp_path / "previous").touch()
    assert read_settings({"PLAYHEAD_MAC_KEY_PREVIOUS_FILE": str(tmp_path / "previous")}).mac_key_previous is None


def test_secrets_are_never_shown() -> None:
    """Not in a description, not in the settings' own text, not in the refusal of another setting."""
    given = {f"{PREFIX}{name.upper()}": PLANTED for name in SECRETS}
    settings = read_settings(given)
    assert PLANTED not in str(describe(settings)) + repr(settings) + str(settings)
    shown = {row.variable: row.value for row in describe(settings)}
    assert shown["PLAYHEAD_MAC_KEY"] == "(set, hidden)"
    with pytest.raises(NotReady) as refused:
        read_settings(given | {"PLAYHEAD_HTTP_PORT": "x"})
    assert PLANTED not in str(refused.value)


@pytest.mark.parametrize(
    "connection",
    [f"dbname=lake password={PLANTED} host=db", f"password='{PLANTED}'", f"postgresql://me:{PLANTED}@db"],
)
def test_a_password_inside_a_connection_string_is_hidden(connection: str) -> None:
    """The rest of the address is shown."""
    settings = read_settings({"PLAYHEAD_LAKE_CATALOG": f"postgres:{connection}"})
    shown = {row.variable: row.value for row in describe(settings)}["PLAYHEAD_LAKE_CATALOG"]
    assert PLANTED not in shown
    assert shown.startswith("postgres:")
    assert "(hidden)" in shown


def test_every_setting_has_a_meaning() -> None:
    """No setting without a sentence, no sentence without a setting."""
    rows = describe(read_settings({}))
    assert [row.variable for row in rows] == [PREFIX + name.upper() for name in Settings.model_fields]
    assert all(len(row.meaning) > 10 for row in rows)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "PLAYHEAD_DATA_DIR": st.just("/somewhere/else"),
            "PLAYHEAD_STRICT": st.sampled_from(["on", "off"]),
            "PLAYHEAD_HTTP_PORT": st.integers(0, 65535).map(str),
            "PLAYHEAD_LAKE_CATALOG": st.just("postgres:dbname=lake host=db"),
            "PLAYHEAD_WORKER_COMMIT_INTERVAL_S": st.floats(0.001, 100).map(str),
            "PLAYHEAD_MAC_KEY": st.just(PLANTED),
        },
    )
)
def test_a_child_process_gets_equal_settings(given: dict[str, str]) -> None:
    """What `environment_of` writes, `read_settings` reads."""
    settings = read_settings(given)
    assert read_settings(environment_of(settings)) == settings


@pytest.mark.parametrize("verb", SECRETS_OF_VERB)
def test_a_verb_gets_the_secrets_it_needs(verb: str) -> None:
    """And all other settings; a password inside the catalogue's address is a secret as well."""
    given = {PREFIX + name.upper(): f"{PLANTED}-{name}" for name in SECRETS}
    address = "postgres:host=db password='pass word' dbname=lake"
    settings = read_settings({**given, "PLAYHEAD_LAKE_CATALOG": address, "PLAYHEAD_HTTP_PORT": "1234"})
    variables = environment_of(settings, verb=verb)
    wanted = {PREFIX + name.upper() for name in SECRETS_OF_VERB[verb]}
    assert given.keys() & variables.keys() == wanted
    assert variables["PLAYHEAD_HTTP_PORT"] == "1234"
    assert ("pass word" in variables["PLAYHEAD_LAKE_CATALOG"]) is ("PLAYHEAD_LAKE_CATALOG_PASSWORD" in wanted)
    assert "host=db" in variables["PLAYHEAD_LAKE_CATALOG"]


def test_a_setting_that_is_none_is_left_out() -> None:
    """A child would read the word None."""
    settings = read_settings({}).model_copy(update={"http_places_database": None, "worker_alive_file": None})
    assert environment_of(settings) == {}


@pytest.mark.parametrize(
    ("name", "length", "is_short"),
    [
        ("mac_key", 31, True),
        ("mac_key", 32, False),
        ("mac_key_previous", 31, True),
        ("pseudonym_key", 31, True),
        ("pseudonym_key", 32, False),
        ("api_keys", 5, False),
    ],
)
def test_short_keys_are_known_by_their_variables(name: str, length: int, is_short: bool) -> None:
    """API keys are given out by people, and looked up, not calculated with."""
    settings = read_settings({PREFIX + name.upper(): "k" * length})
    assert settings.short_keys() == ([PREFIX + name.upper()] if is_short else [])


def test_own_secrets_are_made_once(tmp_path: Path) -> None:
    """Random, kept for the next start, readable by nobody else."""
    settings = read_settings({"PLAYHEAD_DATA_DIR": str(tmp_path / "data")})
    first, second = with_own_secrets(settings), with_own_secrets(settings)
    assert first == second
    files = sorted((tmp_path / "data" / "secrets").iterdir())
    assert [file.name for file in files] == ["api_keys", "mac_key", "pseudonym_key"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    assert len({file.read_text() for file in files}) == 3
    assert all(len(file.read_text()) >= 32 for file in files)
    assert first.short_keys() == []
    assert with_own_secrets(read_settings({"PLAYHEAD_DATA_DIR": str(tmp_path / "b")})) != first


def test_given_secrets_go_before_kept_ones(tmp_path: Path) -> None:
    """The environment decides; what it gives is not written down."""
    given = {"PLAYHEAD_DATA_DIR": str(tmp_path), "PLAYHEAD_MAC_KEY": PLANTED}
    settings = with_own_secrets(read_settings(given))
    assert settings.keys_of_mac() == (PLANTED.encode(),)
    assert not (tmp_path / "secrets" / "mac_key").exists()


def test_kept_secrets_are_read_and_never_made(tmp_path: Path) -> None:
    """Where there are none, there are none."""
    settings = read_settings({"PLAYHEAD_DATA_DIR": str(tmp_path)})
    with pytest.raises(NotReady, match="PLAYHEAD_PSEUDONYM_KEY is not set"):
        with_kept_secrets(settings).key_of_pseudonyms()
    made = with_own_secrets(settings)
    assert with_kept_secrets(settings).key_of_pseudonyms() == made.key_of_pseudonyms()


def test_keys_are_separated_by_commas() -> None:
    """With or without blanks."""
    assert read_settings({"PLAYHEAD_API_KEYS": "a, b,,c "}).keys_of_api() == ["a", "b", "c"]


def test_two_signing_keys_are_live() -> None:
    """The newest signs, the previous one still verifies."""
    settings = read_settings({"PLAYHEAD_MAC_KEY": "new", "PLAYHEAD_MAC_KEY_PREVIOUS": "old"})
    assert settings.keys_of_mac() == (b"new", b"old")
