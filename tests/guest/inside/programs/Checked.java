import java.util.Arrays;
import java.util.concurrent.ConcurrentHashMap;

/** Keeps blocks that hold what follows from their number, replaces them all the time, and checks them; says "checked N"
 * after each round and ends with 1 when a block does not hold what was written to it. */
public class Checked {
    static final int BLOCKS = 1500, LONGS = 2048;
    static final ConcurrentHashMap<Integer, long[]> kept = new ConcurrentHashMap<>();

    static long[] block(int number) {
        long[] out = new long[LONGS];
        long value = number;
        for (int at = 0; at < LONGS; at++) out[at] = value = value * 6364136223846793005L + 1442695040888963407L;
        return out;
    }

    public static void main(String[] arguments) {
        for (int number = 0; number < BLOCKS; number++) kept.put(number, block(number));
        System.out.println("filled");
        for (int thread = 0; thread < 2; thread++) {
            int first = thread;
            new Thread(() -> round(first)).start();
        }
    }

    static void round(int first) {
        for (int round = 1; ; round++) {
            for (int number = first; number < BLOCKS; number += 2) {
                if (!Arrays.equals(kept.get(number), block(number))) {
                    System.out.println("block " + number + " is wrong");
                    System.exit(1);
                }
                kept.put(number, block(number));
            }
            System.out.println("checked " + round);
        }
    }
}
