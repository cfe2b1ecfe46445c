"""Many runs on slots: the processes of a sweep."""
