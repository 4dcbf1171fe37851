"""Screens that fill the terminal. Modal screens are in `dialogs`, screens about emulation in `study`."""
