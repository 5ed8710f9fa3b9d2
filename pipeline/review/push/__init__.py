"""From exported files into the projects of tools, through their own clients."""
