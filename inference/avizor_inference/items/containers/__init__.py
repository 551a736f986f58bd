"""What a sound file's container holds, found by walking it, so that nothing rests on what a header claims.

libsndfile stops where a header says, guesses where it says nothing, and takes a file that was cut off for a whole one. Each
module here walks one family of containers and gives the streams to be decoded, or says why the file is refused.
"""
