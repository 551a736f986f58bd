"""Decode media in separate processes that have limits and can be killed."""
