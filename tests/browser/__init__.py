"""Tests that look at pages as their readers do: in a real Chromium."""
