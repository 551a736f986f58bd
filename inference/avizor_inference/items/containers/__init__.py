"""Find the sound in a file by reading its container from beginning to end, without trusting the header.

libsndfile stops where a header says, guesses where it says nothing, and accepts a file that was cut off as complete. Each
module here reads one family of containers and returns the streams to decode, or raises MediaError with the reason.
"""
