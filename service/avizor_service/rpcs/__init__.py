"""Answer the requests of the RPCs of avizor.v1, in one file each."""
