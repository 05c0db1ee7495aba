// What was asked for is not known yet: the same is asked again.

const AFTER = 3000; // milliseconds
setTimeout(() => location.reload(), AFTER);
