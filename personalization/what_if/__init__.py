"""What a change of the program would do, asked before it is made: nothing here writes to the workspace's state."""
