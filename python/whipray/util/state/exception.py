"""What the state API raises."""

__all__ = ["DataSourceUnavailable", "RayStateApiException", "ServerUnavailable"]


class DataSourceUnavailable(Exception):
    """Somebody who knows did not answer."""


class RayStateApiException(Exception):
    """The question cannot be answered; the text says why."""


class ServerUnavailable(RayStateApiException):
    """There is no cluster to ask."""
