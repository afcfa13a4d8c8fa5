/** How the lines of a picture differ beside their colours, in pixels of dashes and gaps. */
export const DASHES = [[], [8, 4], [2, 3], [12, 4, 2, 4], [4, 2], [1, 2], [10, 2], [6, 6]];
