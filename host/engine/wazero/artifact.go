package wazero

// artifactFormat is the version of the artifact's layout and of the rewriting of guests: raise it whenever
// either changes.
const artifactFormat = 1
