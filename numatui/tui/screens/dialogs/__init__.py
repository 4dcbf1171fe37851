"""Dialogs: modal screens that ask and return an answer."""
