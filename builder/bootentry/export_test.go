package bootentry

// CompareVersions is for tests against systemd's own program.
var CompareVersions = compareVersions
