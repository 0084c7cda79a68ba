"""The parent process: starts trials, watches them from outside, keeps what they say."""
