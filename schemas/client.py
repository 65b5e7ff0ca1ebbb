"""What is known of the sender of a sessionStart: coarse by design, made by the ingest from the request."""

import msgspec


class Client(msgspec.Struct, frozen=True, omit_defaults=True):
    """The device of a session, and where it is; None: not known.

    `device_type` is phone, tablet, tv, console, desktop or other; `os` and `browser` are names from closed lists,
    or `other`; `is_bot` is true for crawlers, headless browsers and scripts. `country` is a code of ISO 3166-1,
    `region` one of ISO 3166-2. `key_name` is the name of the request's API key.
    """

    device_type: str | None = None
    os: str | None = None
    browser: str | None = None
    is_bot: bool | None = None
    country: str | None = None
    region: str | None = None
    key_name: str | None = None

    def without_consent(self) -> "Client":
        """Return what is kept of it if consent was denied."""
        return Client(device_type=self.device_type, country=self.country, key_name=self.key_name)


UNKNOWN_CLIENT = Client()
