"""Clusters whose nodes come and go by what is to be done; see :mod:`whipray.autoscaler.sdk`."""
