"""What other processes can do for our agents: tools of MCP servers, and agents of other houses."""
